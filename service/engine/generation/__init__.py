"""Language models: continuous batching over the rows of one KV cache.

scheduler  which request is prefilled and which rows decode in a step; pure
"""
