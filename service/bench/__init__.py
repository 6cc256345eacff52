"""A load generator for a running server. Needs neither onnxruntime nor a web framework.

rows     the source of requests: a file, the model's folder, the server
bodies   encodes requests as HTTP bodies
wire     HTTP/1.1 with little work per request
loops    the closed and the open loop
figures  the results of a run
"""
