"""Inference requests.

inference   from bytes to the queue and back
direct      the short way: a subclass of uvicorn's protocol, without ASGI
call        a request on the short way
connection  limits of every connection
asgi        the same as an ASGI callable: for long bodies, and for other servers
"""
