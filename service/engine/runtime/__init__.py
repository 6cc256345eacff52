"""Runs a loaded model: session, instances, batcher.

session          one loaded graph
opening          gives a model to ONNX Runtime, with its options
graph_signature  the signature of a graph that ONNX Runtime has opened
execution        how an instance runs one batch
batcher          one queue that feeds the instances of a version
split_batcher    small inputs in the event loop, larger ones in a thread
cached_batcher   outputs of earlier requests; equal requests run once
slots            which instances are free, and which instance runs the next batch
parts            a request that is run in parts
cores            the cores, shared by all models
runs             runs in threads, and their time limits
replies          the receivers of outputs
refusals         which errors of ONNX Runtime are caused by the client
custom_ops       libraries of custom operators
locales          locales that text operators need
"""
