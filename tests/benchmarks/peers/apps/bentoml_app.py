"""BentoML with a batchable endpoint."""

from typing import Any

import bentoml
import numpy as np
from shared import BATCH, OUTPUT, from_lists, session


@bentoml.service(
    workers=1, traffic={"timeout": 60}, logging={"access": {"enabled": False}}
)  # fmt: skip
class Service:
    def __init__(self) -> None:
        self.session = session()

    # BentoML checks requests against the declared type: a narrower one would cost time.
    # The window adapts to the latency that is allowed; a small one refuses requests under load.
    @bentoml.api(batchable=True, max_batch_size=BATCH, max_latency_ms=10_000)
    def predict(self, requests: list[dict[Any, Any]]) -> np.ndarray:
        rows: np.ndarray = self.session.run([OUTPUT], from_lists(requests))[0]
        return rows
