"""HTTP parts that both planes use.

arrival         reading of a body for a route, within limits
body            bodies, within limits and decompressed
target          the model and version in a path, and a client's id for its request
exchange        the state of one inference request
answers         outputs and errors to bytes
shared_tensors  tensors in shared memory, read before the queue and written with the answer
collected       a request to an application of this process, and its whole answer
between         headers between workers
disconnect      work for a client, until the client disconnects
refusal         an answer sent before the request has ended
reading         reading in turns from clients that send much
traffic         memory of requests and answers in flight
"""
