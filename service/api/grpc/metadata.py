"""The metadata of a call, as HTTP headers for the rest of the server."""

from collections.abc import Callable, Iterable, Sequence
from typing import Any

from grpc import StatusCode

from service.api.dataplane.headers import Headers
from service.api.transport.answers import Header
from service.core.errors import Unauthenticated

Metadata = Sequence[tuple[str, str | bytes]]
READ = frozenset({"x-request-id", "traceparent", "tracestate"})
Admit = Callable[[Iterable[Header]], None] | None
"""Raises Unauthenticated if a prediction with these headers is not allowed; None if all are."""


def pairs_of(metadata: Metadata) -> list[Header]:
    """Return metadata as headers."""
    return [(name.encode("latin-1"), _bytes(value)) for name, value in metadata or ()]


def _bytes(value: str | bytes) -> bytes:
    return value if isinstance(value, bytes) else value.encode("latin-1", "replace")


def headers_of(metadata: Metadata) -> Headers:
    """Return, by name, the headers that are used for a prediction."""
    return {name.encode("latin-1"): _bytes(value) for name, value in metadata or () if name in READ}


async def turn_away_unless(
    admit: Callable[[Iterable[Header]], None], context: Any, metadata: Metadata
) -> None:
    """Abort a call without a known key, if a key is needed."""
    try:
        admit(pairs_of(metadata))
    except Unauthenticated as error:
        await context.abort(StatusCode.UNAUTHENTICATED, str(error))
