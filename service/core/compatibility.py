"""Compatibility of two signatures: do requests to the old model work with the new one as before?

Swaps, followed folders and ``quantize`` all use this rule. Compatible are:

- the same tensors in another order, or with other names of variable axes;
- an input that accepts more shapes: an axis that was fixed may now have any length;
- an output that did not exist before: clients read outputs by name. V1 does not name the output of
  a model that has only one, so V1 continues with the outputs that it returned (``v1_outputs``);
- an output with a narrower shape, or one whose axis follows the axis of an input;
- requests in text that were not accepted before.

Everything else breaks some request. Two forms of request follow the new signature even so: a raw
body (``Inference-Header-Content-Length: 0``) is one row of the new signature, and a classification
result of a model that now accepts batches has a first axis.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from service.core.tensors import Dim, Signature, TensorSpec


@dataclass(frozen=True, slots=True)
class Comparison:
    """``broken`` lists the changes that break requests, ``widened`` the changes that do not. Both
    are for people.

    ``v1_outputs`` are the outputs that V1 must return so that its answers do not change; empty for
    all outputs. ``needs_pin``: only V1's answers would change, and a swap to the version's number
    keeps them.
    """

    broken: tuple[str, ...]
    widened: tuple[str, ...]
    v1_outputs: tuple[str, ...] = ()
    needs_pin: bool = False


def compare_signatures(
    old: Signature,
    new: Signature,
    max_rows: int | None = None,
    v1_outputs: Sequence[str] = (),
) -> Comparison:
    """Compare the signatures for requests to ``old`` that are sent to ``new``.

    ``max_rows`` is the largest number of rows that one request to ``new`` may have, None for any;
    ``v1_outputs`` are the outputs of ``old`` that V1 returns, empty for all of them.
    """
    broken = [
        *_inputs(old, new),
        *_joined(old, new),
        *too_many_rows(old, new, max_rows),
        *_outputs(old, new),
        *_texts(old, new),
    ]
    known = {spec.name for spec in old.outputs}
    added = [f"new output {_named(spec)}" for spec in new.outputs if spec.name not in known]
    answered = tuple(v1_outputs) or tuple(spec.name for spec in old.outputs)
    if set(answered) == {spec.name for spec in new.outputs}:
        answered = ()
    return Comparison(tuple(broken), (*_widened(old, new), *added), answered)


def unremembered(
    found: Comparison, old: Signature, new: Signature, v1_outputs: Sequence[str] = ()
) -> Comparison:
    """Return the comparison for a caller that does not store the V1 outputs: V1 then returns all
    outputs of ``new``."""
    if not (found.v1_outputs and _v1_changes(old, new, v1_outputs)):
        return Comparison(found.broken, found.widened)
    kept = " and ".join(f'"{name}"' for name in found.v1_outputs)
    why = f"V1 returns only {kept}, which only a swap to a number can keep"
    return Comparison((*found.broken, why), found.widened, needs_pin=not found.broken)


def _v1_changes(old: Signature, new: Signature, v1_outputs: Sequence[str]) -> bool:
    """Return whether V1 answers change if V1 returns all outputs of ``new``. V1 returns a single
    output as a bare value and several as an object; each output must have a value for every
    instance."""
    known = {spec.name for spec in old.outputs}
    added = [spec for spec in new.outputs if spec.name not in known]
    one = len(v1_outputs or known) == 1 != len(new.outputs)
    return one or not all(spec.batchable for spec in added)


def _inputs(old: Signature, new: Signature) -> Iterator[str]:
    taken = {spec.name: spec for spec in (*new.inputs, *new.optional)}
    for spec in (*old.inputs, *old.optional):
        now = taken.get(spec.name)
        if now is None:
            yield f"no input {_named(spec)}"
        elif now.datatype is not spec.datatype or not _accepts(now, spec):
            yield f"input {_named(now)} was {spec}"
    given = {spec.name for spec in old.inputs}
    for spec in new.inputs:
        if spec.name not in given:
            yield f"new required input {_named(spec)}"


def _accepts(now: TensorSpec, before: TensorSpec) -> bool:
    """Return whether every shape that fits ``before`` also fits ``now``."""
    if not now.ranked:
        return True
    if not before.ranked or len(now.shape) != len(before.shape):
        return False
    return all(
        not isinstance(dim, int) or dim == was
        for dim, was in zip(now.shape, before.shape, strict=True)
    )


def _joined(old: Signature, new: Signature) -> Iterator[str]:
    """Yield the axes of inputs that must now have one length, and had separate lengths before."""
    lengths: dict[str, set[str]] = {}
    for now, before in _pairs(old.inputs, new.inputs):
        for axis, (dim, was) in enumerate(zip(now.shape, before.shape, strict=False)):
            # The rows of one batch already had one length. For later axes, an axis without a name
            # is assumed to be an axis that a newer export has named.
            if (axis == 0 and old.batchable) or (axis and was is None):
                continue
            length = str(was) if was is not None else f'any of "{before.name}"'
            if axis == 0 and new.batchable:
                lengths.setdefault("one number of rows", set()).add(length)
            elif isinstance(dim, str):
                lengths.setdefault(f'one length "{dim}"', set()).add(length)
    for what, found in lengths.items():
        if len(found) > 1:
            were = " and ".join(sorted(found))
            yield f"{what} for axes of inputs that had {were}"


def too_many_rows(old: Signature, new: Signature, max_rows: int | None) -> Iterator[str]:
    """Yield the inputs whose fixed number of rows exceeds the rows of one request to ``new``."""
    if max_rows is None or not new.batchable:
        return
    for now, before in _pairs(old.inputs, new.inputs):
        first = before.shape[0] if before.shape else None
        if isinstance(first, int) and first > max_rows:
            yield f"input {_named(now)} had {first} rows, max_batch_size is {max_rows}"


def _outputs(old: Signature, new: Signature) -> Iterator[str]:
    given = {spec.name: spec for spec in new.outputs}
    follow = _lengths(old, new)
    for spec in old.outputs:
        now = given.get(spec.name)
        if now is None:
            yield f"no output {_named(spec)}"
        elif now.datatype is not spec.datatype or not _delivers(now, spec, old, follow):
            yield f"output {_named(now)} was {spec}"


def _texts(old: Signature, new: Signature) -> Iterator[str]:
    if old.texts is None:
        return
    if new.texts is None:
        yield "no requests in text"
        return
    for problem in (*_inputs(old.texts, new.texts), *_outputs(old.texts, new.texts)):
        yield f"requests in text: {problem}"


def _lengths(old: Signature, new: Signature) -> dict[str, Dim]:
    """Return the axes of the old inputs by the symbols of the new ones; "" is the first axis."""
    found: dict[str, Dim] = {}
    for now, before in _pairs(old.inputs, new.inputs):
        for axis, (dim, was) in enumerate(zip(now.shape, before.shape, strict=False)):
            if isinstance(dim, str):
                found[dim] = was
            if axis == 0 and not isinstance(dim, int):
                found.setdefault("", was)
    return found


def _delivers(now: TensorSpec, before: TensorSpec, old: Signature, follow: dict[str, Dim]) -> bool:
    """Return whether every answer of ``now`` to an old request has a shape that ``before``
    declares."""
    if not before.ranked:
        return True
    if not now.ranked or len(now.shape) != len(before.shape):
        return False
    asked = {dim for spec in old.inputs for dim in spec.shape if isinstance(dim, str)}
    for axis, (dim, was) in enumerate(zip(now.shape, before.shape, strict=True)):
        if isinstance(dim, int):
            of_input = was in asked or (axis == 0 and was is None and old.batchable)
            if dim != was and (isinstance(was, int) or of_input):
                return False
        elif isinstance(was, int):
            # If the axis is that of an input, the output has the length from the request.
            lengths = {follow.get(dim or "")} | ({follow.get("")} if axis == 0 else set())
            if was not in lengths:
                return False
    return True


def _widened(old: Signature, new: Signature) -> Iterator[str]:
    for now, before in _pairs(old.inputs, new.inputs):
        if str(now) != str(before):
            yield f"input {_named(now)} was {before}"
    for now, before in _pairs(old.outputs, new.outputs):
        if str(now) != str(before):
            yield f"output {_named(now)} was {before}"
    known = {spec.name for spec in (*old.inputs, *old.optional)}
    for spec in new.optional:
        if spec.name not in known:
            yield f"new optional input {_named(spec)}"


def _pairs(
    old: Sequence[TensorSpec], new: Sequence[TensorSpec]
) -> Iterator[tuple[TensorSpec, TensorSpec]]:
    """Pair the tensors that both signatures have, the new one first."""
    before = {spec.name: spec for spec in old}
    return ((spec, before[spec.name]) for spec in new if spec.name in before)


def _named(spec: TensorSpec) -> str:
    return f'"{spec.name}" {spec}'
