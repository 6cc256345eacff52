"""Reads ONNX files without loading them and without the ``onnx`` package.

opening     opens a file, which may be anything
protobuf    reader and writer of the wire format
scan        one walk over a model, which meets its nodes and tensors
summary     precision, external files and operators of a model
snapshot    the bytes that a session is loaded from, read once
external    where the values of tensors beside the graph lie
inline      moves external data into the model where ONNX Runtime would map files
unshare     gives each product INT8 constants of its own
zipmap      replaces ZipMap by a tensor of probabilities
weights     whether the INT8 weights are small enough for kernels that saturate
bounds      whether the shapes of the inputs bound the run time
empty       operators that end the process on empty tensors
classical   what forests, linear models and support vector machines hold
categories  the values that encoders of a classical model take
writing     encodes small models for trials at run time
"""
