"""Reads and rewrites the graphs of ``onnx`` models.

parts     nodes, names and constants, also of nested graphs
writer    new nodes and constants with unique names
products  products with constant weights, biases, tables
gelu      GELU and its decomposition
macs      multiply-adds of each product
fusion    what ONNX Runtime's optimiser made of a graph
"""
