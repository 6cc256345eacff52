"""The supervisor's record of crashed servers and of the versions blamed for them. Imports the
standard library only.

A version is blamed for a crash if no other version was at work. If several were, none is blamed:
the faulty version will crash the server again.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from service.core.ledger import Work

QUARANTINE_AFTER = 2
"""The number of crashes for which a version is blamed before it is put into quarantine."""
WHY = "it alone was at work in {} crashes of the server; load the model or swap to it to try again"


@dataclass(frozen=True, slots=True)
class Crashes:
    """All crashes since the supervisor started.

    ``counts`` counts crashes by cause (``SIGSEGV``, ``exit code 1``) and by the blamed model, ""
    for none. ``blamed`` counts the crashes for which each version is blamed. ``last`` describes the
    last crash.
    """

    counts: Mapping[tuple[str, str], int] = field(default_factory=dict)
    blamed: Mapping[Work, int] = field(default_factory=dict)
    last: str = ""

    @property
    def total(self) -> int:
        """The number of crashes."""
        return sum(self.counts.values())

    @property
    def reasons(self) -> dict[Work, str]:
        """The reason of each version in quarantine, for people."""
        return {work: f"quarantined: {WHY.format(self.blamed[work])}" for work in self.quarantined}

    @property
    def quarantined(self) -> tuple[Work, ...]:
        """The versions that must not be served."""
        return tuple(sorted(w for w, n in self.blamed.items() if n >= QUARANTINE_AFTER))

    def with_crash(self, cause: str, at_work: Sequence[Work]) -> "Crashes":
        """Return the record after one more crash."""
        alone = at_work[0] if len(at_work) == 1 else None
        key = (cause, alone.model if alone else "")
        blamed = dict(self.blamed)
        if alone:
            blamed[alone] = blamed.get(alone, 0) + 1
        return Crashes(
            {**self.counts, key: self.counts.get(key, 0) + 1}, blamed, _told(cause, at_work)
        )

    def without_blame(self, work: Work) -> "Crashes":
        """Return the record without the blame of a version that an operator wants to try again."""
        return replace(self, blamed={w: n for w, n in self.blamed.items() if w != work})

    def to_json(self) -> str:
        """Return the record as JSON, for the next server process."""
        return json.dumps(
            {
                "counts": [[*key, count] for key, count in self.counts.items()],
                "blamed": [[*work, count] for work, count in self.blamed.items()],
                "last": self.last,
            }
        )

    @classmethod
    def from_json(cls, text: str) -> "Crashes":
        """Read the record from the text that ``to_json`` returned."""
        found: dict[str, Any] = json.loads(text)
        return cls(
            {(cause, model): count for cause, model, count in found["counts"]},
            {Work(model, version): count for model, version, count in found["blamed"]},
            found["last"],
        )


def _told(cause: str, at_work: Sequence[Work]) -> str:
    names = ", ".join(f'model "{model}" version {version}' for model, version in at_work)
    return f"{cause}, at work: {names or 'nothing'}"
