"""Triton's model configuration, as far as model.toml has equivalent settings.

configuration  its fields, and the equivalent settings
text           parser of protobuf's text format
pbtxt          the config.pbtxt of a model's folder
"""
