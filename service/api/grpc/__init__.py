"""The Open Inference Protocol over gRPC; imported only where its port is open.

server            the port, its limits, its end
services          which calls there are, and what answers each
infer             one request, one answer
stream            requests and answers on one call
calls             a request on its way through the server
decoding          a message to a request
typed             tensors in typed fields
encoding          outputs to a message
wire              protobuf's wire format, where tensors stay where they are
rpcs              all other calls, as requests over HTTP
repository_calls  those about the model repository
control           asks the control plane
parameters        parameters as in JSON
metadata          metadata as headers, and keys
statuses          statuses of HTTP as those of gRPC
health            gRPC's own health protocol
reflection        gRPC's own reflection
messages          the classes of messages
proto_text        reads .proto files
"""
