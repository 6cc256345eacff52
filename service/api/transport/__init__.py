"""What both planes need of HTTP.

arrival         a body on its way to a route, within limits
body            bodies, within limits and decompressed
target          what a path names, and a client's id for its request
exchange        one inference request on its way
answers         outputs and errors to bytes
shared_tensors  tensors in shared memory, read before the queue and written with the answer
refusal         an answer before the request has ended
reading         clients that send much, read in turns
traffic         memory of requests and answers in flight
"""
