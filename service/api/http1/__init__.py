"""HTTP/1.1 connections, owned by the server.

states         states of a connection, transitions and timeouts, as tables
connection     one connection without I/O: bytes and times in; requests, bytes, deadlines out
request        a request while it is received
known_heads    heads that were parsed before, by their bytes
http10         persistent connections of HTTP/1.0
reply_head     status line and headers of a reply, and the framing of its body
stream         a reply sent in parts, with back pressure
driver         the asyncio protocol that drives a connection
asgi_call      a request answered by an ASGI application
under_uvicorn  the parts of uvicorn in use: a documented option, and three attributes
"""
