"""Everything with state: inference sessions, threads, queues, files.

A package imports only the packages listed below it:

    repository  the models in memory: versions, swap, rollback, drain
    loading     loads a version from its folder, and chooses how to run it by measurement
    generation  language models: slots, cache, sampling, text
    images      images to tensors
    text        texts to tensors and back
    storage     the models folder on disk
    runtime     runs a loaded model: session, instances, batcher
    cpu         which kernels of ONNX Runtime are correct and fast on this CPU
    onnx_file   reads ONNX files without loading them
    host        memory, cores and the file system

ONNX Runtime's wheel for Linux reports usage as soon as it is imported, and writes a device id under
the home folder. So this module disables that before any module of this package can import it.
"""

import os

os.environ["ORT_DISABLE_TELEMETRY"] = "1"
