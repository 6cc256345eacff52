"""Collects the metrics of all workers for the worker that answers a scrape, and keeps those of
workers that have ended."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from service.supervision.merging import Page, counters, merge

PATIENCE = 1.0
"""Seconds that a worker may take to answer; after these its last metrics are used."""
PERIOD = 2.0
"""Seconds between two periodic collections. If a worker is killed, its counts since the last
collection are lost."""


@dataclass(eq=False, slots=True)
class Scrape:
    """One request for the metrics page."""

    asker: int
    number: int
    until: float
    missing: set[int]


class Scrapes:
    """The open scrapes. ``tell`` sends a message to a worker; ``own`` returns the supervisor's
    page."""

    def __init__(
        self, tell: Callable[[int, Mapping[str, Any]], None], own: Callable[[], Page]
    ) -> None:
        self._tell = tell
        self._own = own
        self._pages: dict[int, Page] = {}
        self._ended: Page = {}
        self._open: list[Scrape] = []
        self._due = 0.0

    def ask(self, asker: int, number: int, now: float, live: Iterable[int]) -> None:
        """Handle a worker's request for the metrics of all workers."""
        self._open.append(Scrape(asker, number, now + PATIENCE, set(live)))
        self._collect(live)

    def take(self, worker: int, page: Page) -> None:
        """Store the page that a worker has sent."""
        self._pages[worker] = page
        self._without(worker)

    def gone(self, worker: int) -> None:
        """Handle the end of a worker: keep its counters."""
        self._ended = merge([self._ended, counters(self._pages.pop(worker, {}))])
        self._open = [each for each in self._open if each.asker != worker]
        self._without(worker)

    def step(self, now: float, live: Iterable[int]) -> None:
        """Answer scrapes that have waited too long, and start the periodic collection when it is
        due."""
        for each in [each for each in self._open if each.until < now]:
            self._answer(each)
        if now >= self._due:
            self._due = now + PERIOD
            self._collect(live)

    def _without(self, worker: int) -> None:
        for each in list(self._open):
            each.missing.discard(worker)
            if not each.missing:
                self._answer(each)

    def _collect(self, live: Iterable[int]) -> None:
        for worker in live:
            self._tell(worker, {"event": "collect"})

    def _answer(self, scrape: Scrape) -> None:
        self._open.remove(scrape)
        page = merge([self._ended, *self._pages.values(), self._own()])
        self._tell(scrape.asker, {"event": "merged", "scrape": scrape.number, "page": page})
