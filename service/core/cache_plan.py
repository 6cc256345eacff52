"""How many tokens of how many requests a language model may keep, so that memory suffices."""

from dataclasses import dataclass

from service.core.errors import LoadFailed

SHARE = 4
"""The cache of a model may take up to this part of the memory, where model.toml says nothing."""
LEAST_CONTEXT = 256
"""Where that part allows no more, so many tokens of each request are kept all the same."""


@dataclass(frozen=True, slots=True)
class CachePlan:
    """``slots`` requests at a time, each of up to ``context`` tokens. ``note``: for the operator,
    what memory did not allow."""

    slots: int
    context: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class Room:
    """Memory in bytes: ``total`` of the server, and ``left``, which is neither used nor reserved
    for other caches."""

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
    """Fit a cache, of ``token_bytes`` a token, into ``room``. ``context`` is what model.toml asks
    for, None: the model's ``most_context`` as far as memory allows. ``fewer``: whether less than
    ``slots`` will do; then multiples of ``step``, if one fits.

    Raises:
        LoadFailed: it does not fit; with all figures.
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
        f"{what}, too little for {needed} at a time: {advice}unload other versions, or give the"
        " server a larger --memory-budget"
    )


def _mb(size: int) -> str:
    return f"{size / 2**20:.4g} MB"
