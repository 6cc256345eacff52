"""The Open Inference Protocol over gRPC; imported only if its port is open.

server            the port, its limits and its shutdown
services          the calls, and the handler of each
infer             one request, one answer
stream            requests and answers on one call
calls             the path of a request through the server
forwarded         requests for models with a dedicated worker
decoding          a message to a request
typed             tensors in typed fields
encoding          outputs to a message
wire              protobuf's wire format, without copies of tensors
rpcs              all other calls, as HTTP requests
repository_calls  calls about the model repository
control           sends requests to the control plane
parameters        parameters as in JSON
metadata          metadata as headers, and keys
statuses          gRPC status codes of HTTP statuses
health            gRPC's own health protocol
reflection        gRPC's own reflection
messages          the classes of messages
proto_text        reads .proto files
"""
