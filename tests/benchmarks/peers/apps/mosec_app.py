"""mosec: one worker, dynamic batches; JSON, or raw values with the argument ``--raw``."""

import sys

from mosec import Server, Worker
from shared import BATCH, OUTPUT, WAIT_MS, from_bytes, from_lists, session

RAW = "--raw" in sys.argv
if RAW:
    sys.argv.remove("--raw")


class Json(Worker):
    def __init__(self) -> None:
        self.session = session()

    def forward(self, data: list[dict[str, list[float]]]) -> list[dict[str, list[float]]]:
        return [{"y": row.tolist()} for row in self.session.run([OUTPUT], from_lists(data))[0]]


class Raw(Worker):
    def __init__(self) -> None:
        self.session = session()

    def deserialize(self, data: bytes) -> bytes:
        return data

    def serialize(self, data: bytes) -> bytes:
        return data

    def forward(self, data: list[bytes]) -> list[bytes]:
        return [row.tobytes() for row in self.session.run([OUTPUT], from_bytes(data))[0]]


if __name__ == "__main__":
    server = Server()
    worker = Raw if RAW else Json
    server.append_worker(worker, num=1, max_batch_size=BATCH, max_wait_time=WAIT_MS)
    server.run()
