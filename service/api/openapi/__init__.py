"""The documentation at /docs.

document         the OpenAPI document
inference        what it says of inference
examples         requests for it
example_answers  the models' answers to these
page             the page
"""
