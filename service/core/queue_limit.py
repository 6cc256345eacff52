"""When a queue admits no further request. Pure."""

MOST_FILLED = 2
"""Waiting requests of all priorities, as a multiple of the limit for one priority."""


def is_full(limit: int, waiting: int, behind: int) -> bool:
    """Return True if a request may not wait, because the ``limit`` is reached. Of the ``waiting``
    requests, the less urgent ones (``behind``) do not count, so that many of them do not keep it
    out. Requests of all priorities together are at most ``MOST_FILLED`` times the limit."""
    return waiting - behind >= limit or waiting >= MOST_FILLED * limit
