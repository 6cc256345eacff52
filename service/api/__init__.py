"""HTTP. The data plane answers inference requests, the control plane is a FastAPI app.

connection        limits of every connection
direct            inference without ASGI
call              its request on a connection
infer             the data plane as an ASGI callable, for other servers and long bodies
exchange          one inference request on its way
inference         from bytes to the queue and back
answers           outputs and errors to bytes
body              bodies, within limits and decompressed
reading           clients that send much, read in turns
refusal           an answer before the request has ended
traffic           memory of requests and answers in flight
pace              pauses of long work
keep_alive        when idle connections are closed
http10            persistent connections of HTTP/1.0
elsewhere         long bodies and answers, away from the event loop
codec_process     the server's side of the codec process
codec_worker      the codec process
codec_jobs        what it does
frames            values between the two
codec             Open Inference Protocol v2
v1                the V1 protocol
json_tensors      tensors in JSON
binary_tensors    tensors as raw bytes
non_finite        NaN and infinity in JSON
json_size         values of a document, counted before any is made
byte_order        byte order marks
json_table        tables in JSON
csv_table         tables as CSV
columns           named columns to tensors
cells             cells of text to arrays
nested            nested lists of V1, filled up where the model pads
classification    Triton's classification extension
answer_limit      answers that are too large
errors            the status of each error
control           the control plane put together
edge              what all its answers have in common
lookup            names of paths to models and versions
json_body         its small JSON bodies
finite_json       its answers with figures
health            live, ready, startup
metadata          what a model takes and gives
index             the repository index
repository_verbs  load and unload
statistics        Triton's statistics
versions          the versions of a model
v1_status         V1's routes about models
admin             swap and rollback
upload            upload of a version
upload_body       the forms of an upload
form_stream       multipart/form-data
tar_stream        tar archives
watching          server-sent events
scrape            the page for Prometheus
log_settings      Triton's logging extension
trace_settings    Triton's trace extension
shared_memory     Triton's shared memory, refused
unsupported       other extensions that are refused
model_config      model configuration in Triton's words
triton_config     Triton's configuration to model.toml's settings
guard             authentication and authorization
keys              who may do what
audit             changes as events
docs              the interactive documentation
openapi           the OpenAPI document
inference_docs    what it says of inference
examples          requests for it
example_answers   the models' answers to these
"""
