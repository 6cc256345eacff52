"""Audit of changes: each change that an operator requests becomes one event, whatever its outcome.

with Audit(observe).change(request, Verb.SWAP, name, forced=force) as change:
    change.before, change.after = ...
"""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from time import perf_counter

from fastapi import Request

from service.api.protocol.errors import status_of
from service.api.transport.body import ClientGone
from service.core.events import Actor, ChangeCompleted, Observer, Outcome, Verb

NOBODY = Actor("unknown", "-", "-")


@dataclass(slots=True)
class Change:
    """The versions before and after a change, and a note. Filled in as they become known."""

    before: int | None = None
    after: int | None = None
    note: str = ""


class Audit:
    """Reports changes to an observer."""

    def __init__(self, observe: Observer) -> None:
        self._observe = observe

    @contextmanager
    def change(
        self, request: Request, verb: Verb, model: str, *, forced: bool = False
    ) -> Iterator[Change]:
        """Report the outcome of the block as one event. Errors are raised again."""
        change, started, outcome, text = Change(), perf_counter(), Outcome.OK, ""
        try:
            yield change
        except (asyncio.CancelledError, ClientGone):
            outcome = Outcome.CANCELLED
            raise
        except Exception as error:
            outcome = Outcome.REJECTED if status_of(error) < 500 else Outcome.FAILED
            text = str(error)
            raise
        finally:
            self._observe(
                ChangeCompleted(
                    actor=getattr(request.state, "actor", NOBODY),
                    verb=verb,
                    model=model,
                    before=change.before,
                    after=change.after,
                    forced=forced,
                    outcome=outcome,
                    seconds=perf_counter() - started,
                    error=text,
                    note=change.note,
                )
            )
