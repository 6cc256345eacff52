"""What to try on a model, and how it is built.

catalogue    recipes as values, and which fit a graph
source       the FP32 model: is it usable, what kind is it
build        applies a recipe (in a worker)
methods      each method as a call of ONNX Runtime's tools
per_row      dynamic INT8 with a scale for each row
row_scales   its quantization of activations
row_kernels  which operators of this build take scales of rows
outliers     products that stay in float in a language model
smoothing    moves outliers from activations to weights
converting   ``--from-int8``
restoring    reverts dynamic quantization
"""
