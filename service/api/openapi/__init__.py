"""The documentation at /docs.

document         the OpenAPI document
language         routes of language models, with the models that are there
inference        what it says of inference
examples         requests for it
example_answers  the models' answers to these
page             the page
"""
