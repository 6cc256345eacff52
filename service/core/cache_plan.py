"""Size of a language model's KV cache: how many requests and tokens fit into memory."""

from dataclasses import dataclass

from service.core.errors import LoadFailed

SHARE = 4
"""The cache of a model may use up to 1/``SHARE`` of the memory, if model.toml sets no context."""
LEAST_CONTEXT = 256
"""Tokens of each request to keep even if that part of the memory allows fewer."""


@dataclass(frozen=True, slots=True)
class CachePlan:
    """``slots`` requests at a time, each of up to ``context`` tokens. ``note`` tells the operator
    if memory allowed fewer requests than asked for."""

    slots: int
    context: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """Memory in bytes: the server's ``total``, and the part ``left`` that is neither used nor
    reserved for other caches."""

    total: int
    left: int


def plan_cache(
    token_bytes: int,
    room: Room,
    most_context: int,
    slots: int,
    context: int | None,
    *,
    fewer: bool = True,
    step: int = 1,
) -> CachePlan:
    """Fit a cache with ``token_bytes`` for each token into ``room``.

    ``context`` is the number of tokens that model.toml asks for; None stands for the model's
    ``most_context``, reduced as memory requires. ``fewer``: the plan may have fewer requests than
    ``slots``, a multiple of ``step`` if one fits.

    Raises:
        LoadFailed: the cache does not fit; the message has all figures.
    """
    least = min(LEAST_CONTEXT, most_context)
    each = token_bytes * slots
    share = min(room.total // SHARE, room.left)
    wanted = context or min(most_context, max(least, share // each))
    fit = room.left // (token_bytes * wanted)
    if fit >= slots:
        return CachePlan(slots, wanted)
    what = (
        f"keys and values of {wanted} tokens take {_mb(token_bytes * wanted)} a request, and"
        f" {_mb(room.left)} of the memory budget are left"
    )
    if fit and fewer:
        fit = fit // step * step or fit
        return CachePlan(fit, wanted, f"{what}: {fit} requests decode at a time, not {slots}")
    needed = 1 if fewer else slots
    most = room.left // token_bytes // needed
    advice = f"set [generation] context to {most}, or " if context and most >= 2 else ""
    raise LoadFailed(
        f"{what}, too little for {needed} at a time: {advice}unload other versions, or start"
        " the server with a larger --memory-budget"
    )


def _mb(size: int) -> str:
    return f"{size / 2**20:.4g} MB"
