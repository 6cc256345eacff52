"""Settings of the process and of each model: frozen values; an unknown key is an error.

settings  of ``quantserve serve``, by flag or variable
model     model.toml and serving.toml
values    what both are made of, and how errors in them are told
"""
