"""quantserve: serve quantized ONNX models over HTTP.

From top to bottom; imports run downwards only, which import-linter checks:

    cli           the command ``quantserve``
    commands      its commands, one a file
    bench         the load generator of ``bench``
    client        communicates with a running server
    app           builds and wires everything
    start         loads the models at the start, then polls the folder
    optional_parts  imports what is only in use with some settings
    workers       one worker's side of several that share a port
    supervised    the server's side of its supervisor
    forking       the process from which the workers are forked
    supervision   the parent process: replaces servers that crash, leads several workers
    logs          log lines and the audit log
    metrics       metrics for Prometheus
    tracing       spans of requests, for OpenTelemetry
    api           HTTP
    quantization  from an FP32 model and rows to a measured version
    engine        sessions, threads, queues, files
    triton        Triton's model configuration
    config        settings of the process, and model.toml
    files         small files, read within bounds and replaced whole
    core          values and decisions
"""

__version__ = "0.1.0"
