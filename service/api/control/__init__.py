"""Routes of the control plane, with one router per file.

health            live, ready, startup
metadata          inputs and outputs of a model
repository_index  all models and versions
repository_verbs  load and unload
model_config      model configuration in Triton's format
triton_config     Triton's configuration, as clients send it
statistics        Triton's statistics
versions          the versions of a model
admin             swap and rollback
event_stream      changes as server-sent events
upload            upload of a version
upload_forms      the files of an upload: one file, a form or a tar archive
form_stream       multipart/form-data
tar_stream        tar archives
v1_status         V1's routes about models
scrape            the metrics for Prometheus
log_settings      Triton's logging extension
trace_settings    Triton's trace extension
shared_memory     Triton's shared memory extension
lookup            models and versions of the names in a path
error_handlers    rules for all answers
"""
