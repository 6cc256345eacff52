"""The parent of the serving processes. The standard library alone: it is small, and nothing that a
model does can hurt it.

launch       which supervisor a command line asks for, and over how many workers
single       one server, which is replaced when it crashes
fleet        several workers on one port
address      that port, reserved for them
worker       one worker as the supervisor sees it: its process, its channel, its ledger
process      signals, shared memory, the variable by which a server knows its supervisor
coordinator  changes in two phases, all workers or none: decided from messages alone
scrapes      collects the metrics of all workers, and keeps those of workers that have ended
own_metrics  what the supervisor alone knows, as metrics
merging      the metrics of all workers as one page: values in, values out
board        shared memory with a heartbeat and a count of connections for each worker
lines        JSON lines on a socket
"""
