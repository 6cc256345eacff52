"""One worker's side of a fleet: a whole server, which agrees with the others.

member      the channel to the supervisor: changes, votes, metrics
ballot      one worker's part in a change of all workers
repository  the models of this worker, changed together with those of the others
handover    passes connections to workers that have fewer
forwarding  forwards requests for models with a dedicated worker
tasks       the models that have a task, in all workers
own_worker  a dedicated worker, as another worker sees it
line        a connection to it
received    the application of a dedicated worker
counted     the counters of all workers for the statistics, summed
wiring      builds these parts for the server
pages       metrics as values, and the metrics page of all workers
"""
