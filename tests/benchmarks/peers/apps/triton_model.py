"""The model in Triton's Python backend."""

from typing import Any

import numpy as np
import triton_python_backend_utils as backend
from shared import INPUTS, OUTPUT, session


class TritonPythonModel:
    def initialize(self, args: dict[str, str]) -> None:
        self.session = session()

    def execute(self, requests: list[Any]) -> list[Any]:
        parts = {
            name: [backend.get_input_tensor_by_name(each, name).as_numpy() for each in requests]
            for name in INPUTS
        }
        sizes = [len(part) for part in next(iter(parts.values()))]
        feed = {name: np.concatenate(arrays) for name, arrays in parts.items()}
        rows = self.session.run([OUTPUT], feed)[0]
        split = np.split(rows, np.cumsum(sizes)[:-1])
        return [backend.InferenceResponse([backend.Tensor(OUTPUT, part)]) for part in split]
