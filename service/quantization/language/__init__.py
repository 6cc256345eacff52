"""From a language model in FP32, as the model builder writes it, to a proven version.

pipeline  one ``quantserve quantize`` of a folder
recipes   what is tried, and how it is built
trial     a candidate against FP32: perplexity, tokens/s, memory (in a worker)
texts     the texts that it is measured on
"""
