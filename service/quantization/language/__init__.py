"""Quantizes a language model, measures the result and publishes it.

pipeline   one ``quantserve quantize`` of a folder or a GGUF file
source     the forms in which a model is given, and the packages that each needs
convert    converts a Hugging Face folder or a GGUF file to a graph in FP32 (in a worker)
agreement  compares a converted graph with transformers (in a worker)
recipes    the recipes, and how each is built
tables     embedding tables in eight bits
wide       the products of INT4 recipes that keep eight bits
trial      compares a candidate with FP32: perplexity, tokens/s, memory (in a worker)
texts      the texts for calibration and evaluation
"""
