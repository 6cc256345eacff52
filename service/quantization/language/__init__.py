"""From a language model to a proven version.

pipeline   one ``quantserve quantize`` of a folder or a GGUF file
source     the forms in which a model is given, and the packages that each needs
convert    a Hugging Face folder or a GGUF file to a graph in FP32 (in a worker)
agreement  compares such a graph with transformers (in a worker)
recipes    what is tried, and how it is built
tables     embedding tables in eight bits
wide       the products of INT4 recipes that keep eight bits
trial      a candidate against FP32: perplexity, tokens/s, memory (in a worker)
texts      the texts that it is measured on
"""
