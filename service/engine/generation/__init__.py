"""Language models: continuous batching over the rows of one KV cache.

scheduler      which request is prefilled and which rows decode in a step; pure
sampling       from scores to tokens, for all rows of a step
tokenizer      text to tokens, and back one by one
stops          strings that end an answer
chat_template  messages to the text that a model continues
"""
