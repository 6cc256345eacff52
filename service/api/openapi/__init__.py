"""The documentation at /docs.

document         the OpenAPI document
language         routes of language models, with the names of the models
inference        the routes of inference in the document
examples         example requests
example_answers  the models' answers to the example requests
page             the interactive page
"""
