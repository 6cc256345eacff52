"""Images as inputs of models. ``decoding`` and ``pixels`` import Pillow.

settings    [image] of model.toml, and files of Hugging Face, for a model's signature
hub_config  preprocessor_config.json
decoding    bytes to pixels within bounds
pixels      resizing, cutting, scaling of values
"""
