"""Triton's model configuration, as far as it has counterparts in model.toml.

configuration  its fields, and the settings that say the same
text           protobuf's text format, as a document
pbtxt          the config.pbtxt of a model's folder
"""
