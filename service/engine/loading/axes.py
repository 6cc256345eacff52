"""Tests whether the inputs of a graph may have different numbers of rows, if its file leaves that
open.

The first axes may be one batch: converters give each unknown axis a separate name. Or they count
different objects, such as the nodes and the edges of a graph. Trial runs distinguish the two: a
graph refuses inputs of one batch whose numbers of rows differ.
"""

from collections.abc import Iterator, Sequence
from enum import StrEnum
from itertools import combinations

import numpy as np

from service.core.errors import QuantserveError
from service.core.tensors import Arrays, Signature
from service.engine.runtime.execution import Run

MOST_GROUPS = 6
"""With more groups, only some divisions into two sets are tried: there are 2 ** (groups - 1) - 1
divisions."""


class Counts(StrEnum):
    """The numbers of rows that a graph accepts in its inputs.

    UNTRIED: there were no single rows to try. EQUAL: different numbers fail. BROADCAST: 1 row in an
    input runs with several rows in another, 2 rows fail with 3. ANY: 2 rows run with 3.
    """

    UNTRIED = "untried"
    EQUAL = "equal"
    BROADCAST = "broadcast"
    ANY = "any"


def counts_taken(run: Run, signature: Signature, rows: Sequence[Arrays]) -> Counts:
    """Try different numbers of rows. ``rows`` are requests of one row."""
    if not rows or any(array.shape[:1] != (1,) for array in rows[0]):
        return Counts.UNTRIED
    divisions = list(_divisions(_groups(signature)))
    for pairs, found in (
        (((2, 3), (3, 2)), Counts.ANY),
        (((1, 2), (2, 1)), Counts.BROADCAST),
    ):
        for some in divisions:
            for inside, outside in pairs:
                counts = [inside if i in some else outside for i in range(len(rows[0]))]
                if _runs(run, rows, counts):
                    return found
    return Counts.EQUAL


def _groups(signature: Signature) -> list[frozenset[int]]:
    """Return the indices of inputs that must have the same number of rows, as groups: their first
    axes have the same symbol."""
    places: dict[object, set[int]] = {}
    for place, spec in enumerate(signature.inputs):
        symbol = spec.shape[0] if spec.shape else None
        places.setdefault(place if symbol is None else symbol, set()).add(place)
    return [frozenset(each) for each in places.values()]


def _divisions(groups: list[frozenset[int]]) -> Iterator[frozenset[int]]:
    """Yield one half of each division of the groups into two sets.

    Of more than ``MOST_GROUPS`` groups, yield each group alone, and the first few groups together:
    inputs that belong together are mostly declared together.
    """
    _, *others = groups
    if len(groups) <= MOST_GROUPS:
        for count in range(1, len(groups)):
            for some in combinations(others, count):
                yield frozenset().union(*some)
        return
    yield from groups
    for count in range(2, len(groups) - 1):
        yield frozenset().union(*groups[:count])


def _runs(run: Run, rows: Sequence[Arrays], counts: Sequence[int]) -> bool:
    inputs = tuple(
        np.concatenate([rows[i % len(rows)][place] for i in range(count)])
        for place, count in enumerate(counts)
    )
    try:
        run(inputs, None)
    except QuantserveError:
        return False
    return True
