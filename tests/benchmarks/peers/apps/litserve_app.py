"""LitServe: one worker, dynamic batches."""

from typing import Any

import litserve
import numpy as np
from shared import BATCH, OUTPUT, PORT, WAIT_MS, from_lists, session

# LitServe checks requests and answers against the declared types: narrower ones would cost time.
Document = dict[Any, Any]


class Api(litserve.LitAPI):
    def setup(self, device: str) -> None:
        self.session = session()

    def decode_request(self, request: Document) -> Document:
        return request

    def batch(self, inputs: list[Document]) -> dict[str, np.ndarray]:
        return from_lists(inputs)

    def predict(self, x: dict[str, np.ndarray]) -> np.ndarray:
        rows: np.ndarray = self.session.run([OUTPUT], x)[0]
        return rows

    def unbatch(self, output: np.ndarray) -> list[np.ndarray]:
        return list(output)

    def encode_response(self, output: np.ndarray) -> Document:
        return {"y": output.tolist()}


if __name__ == "__main__":
    api = Api(max_batch_size=BATCH, batch_timeout=WAIT_MS / 1000)
    server = litserve.LitServer(api, accelerator="cpu", workers_per_device=1, timeout=60)
    server.run(port=PORT, num_api_servers=1, generate_client_file=False, log_level="warning")
