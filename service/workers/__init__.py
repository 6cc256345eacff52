"""One worker's side of a fleet: a whole server, which agrees with the others.

member      the channel to the supervisor: changes, votes, metrics
ballot      one worker's part in a change that all carry out
repository  the models of this worker, changed together with those of the others
handover    connections for workers that have fewer
counted     what workers counted for the statistics, added up
wiring      all of it, put together for the server
pages       metrics as values, and the page of all workers
"""
