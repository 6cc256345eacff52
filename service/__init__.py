"""quantserve: serve quantized ONNX models over HTTP.

The layers, from top to bottom; imports run downwards only (import-linter checks it):

    cli  commands  client  app  logs metrics  api  quantization  engine  config  core
"""

__version__ = "0.1.0"
