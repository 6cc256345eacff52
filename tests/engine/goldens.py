"""Valid and invalid golden sets, for a model with token inputs."""

from pathlib import Path

import numpy as np

from service.core.tensors import DATATYPES, Dim, Signature, TensorSpec


def spec(name: str, datatype: str, *shape: Dim) -> TensorSpec:
    return TensorSpec(name, DATATYPES[datatype], shape)


TOKENS = Signature(
    (spec("ids", "INT64", "batch", "sequence"), spec("mask", "INT64", "batch", "sequence")),
    (spec("label", "INT64", "batch"), spec("score", "FP32", "batch", 2)),
)


def golden(folder: Path, **arrays: object) -> Path:
    path = folder / "golden.npz"
    np.savez(path, **{name.replace("_", "/", 1): array for name, array in arrays.items()})  # type: ignore[arg-type]
    return path


def ints(*shape: int) -> np.ndarray:
    return np.arange(np.prod(shape), dtype=np.int64).reshape(shape)


IDS, MASK = {"inputs_ids": ints(3, 4)}, {"inputs_mask": ints(3, 4)}
