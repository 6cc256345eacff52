"""HTTP/1.1 connections, owned by the server.

states         states of a connection, transitions and timeouts, as tables
connection     one connection without I/O: bytes and times in; requests, bytes, deadlines out
request        a request while it is received
http10         persistent connections of HTTP/1.0
reply_head     status line and headers of a reply, and how its body is framed
stream         a reply sent in parts, with back pressure
driver         the asyncio protocol that drives a connection
asgi_call      a request answered by an ASGI application
under_uvicorn  what is used of uvicorn: its documented seam, and three attributes
"""
