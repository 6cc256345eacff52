"""HTTP and gRPC. A package imports only packages listed below it. The control plane and the data
plane do not import each other:

application  the control plane as a FastAPI application
openapi      the OpenAPI document, its examples, and the page that shows it
text         embeddings, reranking and classification of texts
language     chats and completions
grpc         the protocol over gRPC
control      routes of the control plane
dataplane    inference requests, from a connection to the queue and back
http1        HTTP/1.1 connections: the state machine and its driver
auth         authorization by key, and the audit of changes
transport    HTTP parts that both planes use: bodies, refusals, memory in flight
offload      decoding and encoding of long bodies, outside the event loop
protocol     bytes to values and back, without I/O
"""
