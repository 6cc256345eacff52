"""HTTP. Packages import those below them only; the two planes do not know each other:

application  the control plane put together, as a FastAPI application
openapi      the OpenAPI document, its examples, and the page that shows it
text         embeddings, reranking and classification of texts
language     chats and completions
grpc         the protocol over gRPC
control      routes of the control plane
dataplane    inference requests, from a connection to the queue and back
http1        connections: HTTP/1.1 as a state machine, and what drives it
auth         who may do what
transport    what both planes need of HTTP: bodies, refusals, memory in flight
offload      long bodies and answers, away from the event loop
protocol     bytes to values and back, pure
"""
