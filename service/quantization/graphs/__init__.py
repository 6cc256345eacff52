"""Reads and rewrites the graphs of ``onnx`` models.

parts     nodes, names and constants, including those of nested graphs
writer    adds nodes and constants with unique names
products  recognises products with constant weights, biases, tables
gelu      recognises GELU and its decomposition
macs      counts the multiply-adds of each product
fusion    counts integer and float products in ONNX Runtime's optimised graph
"""
