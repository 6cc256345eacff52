"""Headers between workers, for requests that are forwarded to a dedicated worker.

Clients cannot send them: they are removed before a request is forwarded.
"""

from collections.abc import Iterable

from service.api.transport.answers import Header

PREFIX = b"x-quantserve-"
CLIENT = b"x-quantserve-client"
"""Host and port of the client, for the audit log."""
GRPC_SECONDS = b"x-quantserve-grpc-seconds"
"""The body is a message of gRPC. The value is the seconds that its client waits, or empty."""


def without_private(headers: Iterable[Header]) -> list[Header]:
    """Return a client's headers without those between workers."""
    return [pair for pair in headers if not pair[0].startswith(PREFIX)]
