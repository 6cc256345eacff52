"""A load generator for a running server: what to send, the way there, and what was observed.

Needs neither onnxruntime nor a web framework.
"""
