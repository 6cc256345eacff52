"""Settings of the process and of each model: frozen values; an unknown key is an error.

settings  settings of ``quantserve serve``, from flags and environment variables
model     model.toml and serving.toml
values    the base class of both, and the text of their errors
"""
