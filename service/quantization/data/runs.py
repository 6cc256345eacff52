"""Runs: the inputs of one call of the graph, as recorded."""

from collections.abc import Mapping, Sequence

import numpy as np

from service.core.errors import ConfigError
from service.core.tensors import Array, Arrays, Signature, Tensor, TensorSpec
from service.quantization.data.labels import LABELS

Feed = Mapping[str, Array]

AS_THEY_COME = (
    "Each set of inputs is one run: rows/s are runs/s, runs are not batched, so the check "
    "that rows of a batch do not influence each other does not apply."
)


def unstacked(feed: Feed, signature: Signature) -> list[Feed]:
    """Split a feed into runs if all inputs have an extra first axis; otherwise it is one run.

    Raises:
        ConfigError: another array, such as the labels, has a different number of runs.
    """
    shapes = [np.shape(feed[s.name]) for s in signature.inputs if s.name in feed]
    deeper = [len(s.shape) + 1 for s in signature.inputs]
    counts = {shape[0] for shape in shapes if shape}
    known = all(spec.ranked for spec in signature.inputs)
    if not known or [len(shape) for shape in shapes] != deeper or len(counts) != 1:
        return [feed]
    count = counts.pop()
    for name, array in feed.items():
        if np.shape(array)[:1] != (count,):
            raise ConfigError(f'"{name}" has shape {list(np.shape(array))}; there are {count} runs')
    return [{name: array[i] for name, array in feed.items()} for i in range(count)]


def check_run(feed: Feed, signature: Signature, labels: str | None) -> Arrays:
    """Check a feed as one run. Returns its arrays in the signature's order.

    Raises:
        ConfigError: an input is missing or unknown, its shape or dtype does not fit, or a value is
            NaN.
    """
    takes = ", ".join(f'"{spec.name}" {spec}' for spec in signature.inputs)
    known = {spec.name for spec in signature.inputs} | {labels, *LABELS}
    for name in feed:
        if name not in known:
            raise ConfigError(
                f'"{name}" is not an input of the model, which takes {takes}; if these are the '
                f"labels, use --labels {name}"
            )
    return tuple(_checked(feed, spec, takes) for spec in signature.inputs)


def _checked(feed: Feed, spec: TensorSpec, takes: str) -> Array:
    if spec.name not in feed:
        has = ", ".join(f'"{name}"' for name in feed) or "nothing"
        raise ConfigError(f'there is no "{spec.name}"; the model takes {takes}, got {has}')
    array = np.asarray(feed[spec.name])
    if array.dtype != spec.datatype.dtype:
        raise ConfigError(f'"{spec.name}": the model takes {spec}, got {array.dtype}')
    if not spec.fits(Tensor(spec.name, spec.datatype, array)):
        raise ConfigError(
            f'"{spec.name}": the model takes {spec}, got {list(array.shape)}; each set of inputs '
            "is one run (or give all inputs an extra first axis, that of the runs)"
        )
    if array.dtype.kind == "f" and np.isnan(array).any():
        raise ConfigError(f'"{spec.name}" holds NaN; clean the data first')
    return array


def too_few(runs: Sequence[Arrays], fewest: int) -> str:
    """Return the error message for fewer runs than a search needs."""
    shapes = ", ".join(str(list(array.shape)) for array in runs[0]) if runs else "none"
    return (
        f"the data has {len(runs)} run{'s' if len(runs) != 1 else ''} (shapes {shapes}); at least "
        f"{fewest} are needed, a few hundred are better. These inputs are not a batch of rows, so "
        "each set of them is one run: give a function that yields a dict for each run, a folder "
        "with an .npz for each, or arrays with an extra first axis, that of the runs"
    )
