"""Names in a request that differ from the expected names: missing, unknown or probably misspelt.
Pure.
"""

from collections import Counter
from collections.abc import Sequence
from difflib import get_close_matches

MOST = 8
"""The maximum number of names of each kind in a message."""
SHOWN = ".200"
"""Format of a name in a message: names come from requests and may have any length."""
COMPARED = 2**12
"""Limit of a comparison: the length of a name times the total length of the names that it is
compared with. So it takes at most half a millisecond."""


def misnamed(
    what: str, given: Sequence[str], wanted: Sequence[str], optional: Sequence[str] = ()
) -> str:
    """Describe the problems of the given names; "" if there is none.

    >>> misnamed("input", ["ages", "city"], ["age", "city"])
    'unknown input "ages", perhaps "age" is meant; input "age" is missing'
    """
    counts, known = Counter(given), {*wanted, *optional}
    missing = [name for name in wanted if name not in counts]
    repeated = [(name, count) for name, count in counts.items() if count > 1]
    problems = [f'{what} "{n:{SHOWN}}" is given {c} times' for n, c in repeated[:MOST]]
    if len(repeated) > MOST:
        problems.append(f"and {len(repeated) - MOST} more given several times")
    candidates = missing or [*wanted, *optional]
    strangers = [name for name in counts if name not in known]
    problems += [f"unknown {what} {_meant(name, candidates)}" for name in strangers[:MOST]]
    if len(strangers) > MOST:
        problems.append(f"and {len(strangers) - MOST} more unknown")
    problems += [f'{what} "{name:{SHOWN}}" is missing' for name in missing[:MOST]]
    if len(missing) > MOST:
        problems.append(f"and {len(missing) - MOST} more missing")
    return "; ".join(problems)


def _meant(name: str, candidates: Sequence[str]) -> str:
    """Show the name, and the closest accepted name if there is a similar one."""
    near: dict[str, str] = {}
    room = COMPARED // max(1, len(name))
    for each in candidates:
        room -= len(each)
        if room < 0:
            break
        near[each.casefold()] = each
    found = get_close_matches(name.casefold(), near, 1)
    meant = f', perhaps "{near[found[0]]:{SHOWN}}" is meant' if found else ""
    return f'"{name:{SHOWN}}"{meant}'
