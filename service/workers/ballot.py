"""One worker's part in a change of all workers: it votes, and waits for the verdict."""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import asdict
from typing import Any

from service.core.checks import Check
from service.core.errors import GateFailed, QuantserveError

Tell = Callable[[Mapping[str, Any]], None]


class Ballot:
    """See ``rollout.Ballot``. ``number`` is the number of the change."""

    def __init__(self, number: int, leads: bool, tell: Tell) -> None:
        self._number = number
        self._tell = tell
        # All mutable state: whether this worker writes the shared files, and its votes in order.
        self.leads = leads
        self._verdicts: list[asyncio.Future[Mapping[str, Any]]] = []

    async def agree(self, model: str, version: int) -> None:
        """Wait until all workers are about to switch to a version.

        Raises:
            GateFailed: a worker cannot switch; with its reason and its checks.
        """
        found = await self._vote(version, True, "", ())
        if found["yes"]:
            return
        checks = tuple(Check(**each) for each in found["checks"])
        what = f'model "{model}" version {version} may not serve'
        raise GateFailed(what, found["reason"], checks, again=found["again"])

    def refuse(self, version: int, error: QuantserveError) -> None:
        """Vote no: this worker cannot switch to a version."""
        if isinstance(error, GateFailed):
            self._vote(version, False, error.reason, error.checks)
        else:
            self._vote(version, False, str(error), ())

    def take(self, verdict: Mapping[str, Any]) -> None:
        """Handle the supervisor's verdict on a vote."""
        self.leads = verdict["leads"]
        waiting = self._verdicts[verdict["round"]]
        if not waiting.done():
            waiting.set_result(verdict)

    def _vote(
        self, version: int, yes: bool, reason: str, checks: tuple[Check, ...]
    ) -> asyncio.Future[Mapping[str, Any]]:
        waiting = asyncio.get_running_loop().create_future()
        self._verdicts.append(waiting)
        self._tell(
            {
                "event": "vote",
                "change": self._number,
                "version": version,
                "yes": yes,
                "reason": reason,
                "checks": [asdict(check) for check in checks],
            }
        )
        return waiting
