"""The parent of the serving processes. It uses the standard library only: it stays small, and no
model can crash it.

launch       chooses the supervisor and the number of workers for a command line
single       supervises one server, and replaces it when it crashes
fleet        supervises several workers on one port
cores        divides the cores among them
groups       groups of workers that change together
own_models   finds models with a dedicated worker
address      reserves that port
template     the process that forks workers, as the supervisor sees it
worker       one worker as the supervisor sees it: its process, its channel, its ledger
process      signals, shared memory, the environment variable for a server's supervisor
coordinator  decides changes in two phases, for all workers or none, from messages only
scrapes      collects the metrics of all workers, and keeps those of workers that have ended
own_metrics  the supervisor's own metrics
merging      merges the metrics of all workers into one page, without I/O
board        shared memory with a heartbeat and a count of connections for each worker
lines        JSON lines on a socket
"""
