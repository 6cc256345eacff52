"""What lives: sessions, threads, queues, files. Packages import those below them only:

    repository  the models in memory: versions, swap, rollback, drain
    loading     from a version's folder to something that can serve, by measurement
    generation  language models: slots, cache, sampling, text
    images      images to tensors
    text        texts to tensors and back
    storage     the models folder on disk
    runtime     runs a loaded model: session, instances, batcher
    cpu         which of ONNX Runtime's kernels are right and fast on this CPU
    onnx_file   reads ONNX files without loading them
    host        memory, cores and the file system

ONNX Runtime's wheel for Linux reports usage from the moment of its import on, and writes a device
id under the home folder; so this is set before any module of this package can import it.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
