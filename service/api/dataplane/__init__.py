"""Inference requests.

inference       from bytes to the queue, and the outcome of each request
answering       from outputs to the answer
routing         the choice between a call and the ASGI application for each request
call            an inference request without ASGI
choice          the version that answers a request
headers         the headers of a request
image_requests  the images of requests: recognised, replaced by the model's tensor, answered
images          from images to the model's tensor, and from outputs to boxes
asgi            inference as an ASGI callable: for unusual requests, and for other servers
"""
