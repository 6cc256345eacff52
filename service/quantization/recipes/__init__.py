"""Quantization recipes, and how each is built.

catalogue    recipes as values, and which apply to a graph
source       checks and classifies the FP32 model
build        applies a recipe (in a worker)
methods      each method as a call of ONNX Runtime's tools
per_row      dynamic INT8 with a scale for each row
row_scales   the quantization of activations for per_row
row_kernels  tests whether this build of ONNX Runtime supports scales of rows
outliers     products that stay in float in a language model
smoothing    moves outliers from activations to weights
converting   ``--from-int8``
restoring    reverts dynamic quantization
"""
