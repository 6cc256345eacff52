"""Inference requests.

inference  from bytes to the queue and back
routing    what answers a request of a connection: a call, or the ASGI application
call       an inference request without ASGI
images     images of a request to the model's tensor, and boxes back
asgi       inference as an ASGI callable: for requests out of the ordinary, and for other servers
"""
