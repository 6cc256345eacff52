"""A load generator for a running server. Needs neither onnxruntime nor a web framework.

rows     what to send
bodies   requests as bodies
wire     HTTP/1.1 with little work
loops    the closed and the open loop
figures  what was observed
"""
