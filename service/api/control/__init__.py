"""Routes of the control plane, a router a file.

health            live, ready, startup
metadata          what a model takes and gives
repository_index  all models and versions
repository_verbs  load and unload
model_config      model configuration in Triton's words
triton_config     Triton's configuration, as clients send it
statistics        Triton's statistics
versions          the versions of a model
admin             swap and rollback
event_stream      changes as server-sent events
upload            upload of a version
upload_forms      one file, a form's or a tar's
form_stream       multipart/form-data
tar_stream        tar archives
v1_status         V1's routes about models
scrape            the page for Prometheus
log_settings      Triton's logging extension
trace_settings    Triton's trace extension
shared_memory     Triton's shared memory, refused
lookup            names of paths to models and versions
error_handlers    what all answers have in common
"""
