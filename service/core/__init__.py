"""Values and decisions: numpy and the standard library; no event loop, clock, disk or framework.

answer_size       bounds of an answer's bytes, before it is written
assembly          rows of requests joined for a run, and its outputs split
batching          the queue that forms batches
bfloat16          BF16, which numpy lacks
blame             which input made a graph refuse a request
body_cost         how much memory a request takes
bounded           whether shapes bound a graph's run time
cache_plan        how much a language model may keep of its requests
channels          channels of an output that stand still
checks            one check of the gate
compatibility     two signatures compared
conversion        numbers of one datatype as another
crashes           which version a crash is blamed on
datatypes         the protocol's datatypes in numpy
errors            every error that somebody is told
events            what happened, as values
exemplars         the last trace in each bucket of a histogram
extent            how large inputs may be in the event loop
fair_share        which model's run begins next
figures           figures in JSON, which has no NaN
gate              the gate's judgement
generation        what is asked of a language model, and its answer
graph_limits      how large a graph may be
hub_labels        labels of a config.json
images            how images become an input, and where boxes lie in them
language_gate     the judgement of a language model
layout            what a model repository holds
ledger            what is at work, written where it outlives the process
lifecycle         the states of a version
lone              whether a lone run gets all cores
magic             file formats told by their first bytes
memory_budget     bytes that many take from one share
memory_plan       memory shared out between models and traffic
misnamed          the closest name to one that is not known
model_file        which file of a folder is the model
names             names in a model repository
non_finite        arrays with NaN and infinity compared
padding           how variable lengths are filled up
requests          requests and answers, whatever the wire format
response_cache    outputs of earlier requests
run_limits        how long a run may take
shapes            shapes that may be why a run failed
sizes             how much one request may hold
statistics        counters, fed by events
tensors           tensors and signatures
texts             requests in text, and texts put together by length
token_statistics  counters of language models
tuning            threads, instances, rows and kernels chosen from measurements
unserved          why an entry is no model
versions          which versions to load and to serve
waiting           how long a request would wait
whereabouts       where in a tensor a value is
"""
