"""Writes the files next to a model's versions: golden.npz and example.json.

golden.npz contains rows that every version must reproduce: `inputs/<tensor>`, `outputs/<tensor>`
(answers of the FP32 model) and optional `labels`. example.json is one inference request.
"""

import json
from collections.abc import Mapping
from pathlib import Path

import numpy as np

Tensors = dict[str, np.ndarray]

_DATATYPES = {"float32": "FP32", "int64": "INT64"}


def write_golden(
    folder: Path, inputs: Tensors, outputs: Tensors, labels: np.ndarray | None = None
) -> None:
    """Write golden.npz. Equal arrays produce equal bytes."""
    arrays = {f"inputs/{name}": value for name, value in inputs.items()}
    arrays |= {f"outputs/{name}": value for name, value in outputs.items()}
    if labels is not None:
        arrays["labels"] = labels
    folder.mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "golden.npz", allow_pickle=False, **arrays)


def write_example(folder: Path, inputs: Tensors, output: Mapping[str, object], width: int) -> None:
    """Write example.json, an Open Inference Protocol request with `width` numbers per line."""
    tensors = ",\n".join(_tensor(name, value, width) for name, value in inputs.items())
    outputs = json.dumps([output])
    text = f'{{"inputs": [\n{tensors}\n],\n"outputs": {outputs}}}\n'
    json.loads(text)
    (folder / "example.json").write_text(text)


def _tensor(name: str, value: np.ndarray, width: int) -> str:
    kind, shape = _DATATYPES[str(value.dtype)], list(value.shape)
    numbers = [f"{number:.2f}".rstrip("0").rstrip(".") for number in value.ravel().tolist()]
    column = max(len(number) for number in numbers)
    lines = [
        ",".join(number.rjust(column) for number in numbers[start : start + width])
        for start in range(0, len(numbers), width)
    ]
    head = f'{{"name": "{name}", "datatype": "{kind}", "shape": {shape}, "data": [\n'
    return head + ",\n".join(lines) + "]}"
