"""Images as inputs of models. ``decoding`` and ``pixels`` import Pillow.

settings    settings for a model, from [image] of model.toml and Hugging Face files
hub_config  reads preprocessor_config.json
decoding    bytes to pixels, with limits
pixels      resizing, cropping, scaling of values
"""
