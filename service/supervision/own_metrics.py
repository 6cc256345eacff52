"""The supervisor's own metrics, as families for the page of all workers."""

import os
from collections.abc import Sequence

from service.core.crashes import Crashes
from service.supervision.board import Board
from service.supervision.merging import Page, counter, gauge, page_of
from service.supervision.worker import Worker, resident_bytes


def own_metrics(crashes: Crashes, workers: Sequence[Worker], board: Board) -> Page:
    """Return crashes, and each worker's state, process, connections and memory."""
    labels = [({"worker": str(each.number)}, each) for each in workers]
    memory = [(label, float(each.resident_bytes())) for label, each in labels]
    memory.append(({"worker": "supervisor"}, float(resident_bytes(os.getpid()))))
    by_cause = [
        ({"cause": cause, "model": model}, float(count))
        for (cause, model), count in crashes.counts.items()
    ]
    return page_of(
        [
            counter(
                "quantserve_restarts",
                "Times that the supervisor replaced a server that crashed",
                [({}, float(crashes.total))],
            ),
            counter(
                "quantserve_crashes",
                "Crashes by cause; model is empty if no single model was at work",
                by_cause,
            ),
            gauge(
                "quantserve_worker_up",
                "1 for a worker that accepts connections",
                [
                    (label, float(board.connections(each.number) is not None))
                    for label, each in labels
                ],
            ),
            gauge(
                "quantserve_worker_process_id",
                "Process id of a worker; 0 while it has no process",
                [(label, float(each.process_id)) for label, each in labels],
            ),
            gauge(
                "quantserve_worker_connections",
                "Connections of a worker",
                [(label, float(board.connections(each.number) or 0)) for label, each in labels],
            ),
            gauge(
                "quantserve_worker_resident_memory_bytes",
                "Resident memory of a worker, and of the supervisor",
                memory,
            ),
        ]
    )
