"""Reads ONNX files without loading them and without the ``onnx`` package.

opening     opens a file, after a check that it can be a model
protobuf    reader and writer of the wire format
scan        a single pass over a model that visits its nodes and tensors
summary     precision, external files and operators of a model
snapshot    the bytes from which a session is loaded, read once
external    the location of a tensor's external data
inline      moves external data into the model where ONNX Runtime would map files
unshare     gives each product INT8 constants of its own
zipmap      replaces ZipMap by a tensor of probabilities
weights     checks that the INT8 weights are small enough for kernels that saturate
bounds      collects what is needed to decide whether input shapes bound the run time
empty       operators that crash the process on empty tensors
classical   weights of forests, linear models and support vector machines
categories  the values that encoders of a classical model accept
writing     encodes small models for trials at run time
"""
