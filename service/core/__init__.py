"""Values and decisions: numpy and the standard library; no event loop, clock, disk or framework.

answer_size       upper bounds of an answer's size, computed before it is encoded
assembly          joins the rows of requests for one run, and splits its outputs
batching          the queue that forms batches
bfloat16          BF16, which numpy lacks
blame             the input that probably made a graph refuse a request
body_cost         memory that a request needs
bounded           whether input shapes bound a graph's run time
cache_plan        size of a language model's KV cache
channels          output channels that became constant
checks            one check of the gate
compatibility     comparison of two signatures
conversion        conversion of numbers between datatypes
crashes           crashes, and the versions blamed for them
datatypes         the protocol's datatypes in numpy
errors            all errors that the server reports
events            events as values
exemplars         the last trace in each bucket of a histogram
extent            the largest inputs that may run in the event loop
fair_share        which model's run begins next
figures           numbers as JSON, which has no NaN
gate              the checks of the gate
generation        requests to language models, and their answers
graph_limits      limits on the size of a graph
hub_labels        labels of a config.json
images            conversion of images to an input, and of boxes back to the images
language_gate     the checks of the gate for language models
layout            the models and versions in a model repository
ledger            the work in progress, recorded where it outlives the process
lifecycle         the states of a version
lone              whether a lone run gets all cores
magic             file formats recognised by their first bytes
memory_budget     a budget of bytes, shared by many holders
memory_plan       division of memory between models and traffic
misnamed          the closest match for an unknown name
model_file        which file of a folder is the model
names             names in a model repository
non_finite        comparison of arrays that hold NaN and infinity
padding           padding of variable lengths
requests          requests and answers, independent of the wire format
queue_limit       when a queue admits no further request
response_cache    cached outputs of earlier requests
run_limits        time limits of a run
selection         a selection of models by name
shapes            shapes that may be the reason why a run failed
sizes             size limits of one request
sole_use          whether one model has been the only one in use
statistics        counters, updated by events
tensors           tensors and signatures
texts             requests in text, and grouping of texts by length
token_statistics  counters of language models
tuning            threads, instances, rows and kernels chosen from measurements
unserved          reasons why an entry is not served as a model
versions          which versions to load and to serve
waiting           estimates of the time that a request would wait
whereabouts       the position of a value in a tensor
"""
