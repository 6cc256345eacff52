"""What lives: sessions, threads, queues, files.

ONNX Runtime's wheel for Linux reports usage from the moment of its import on, and writes a device
id under the home folder; so this is set before any module of this package can import it.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
