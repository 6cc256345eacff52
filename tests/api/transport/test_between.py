"""Headers between workers are removed from clients' requests."""

from service.api.transport.between import CLIENT, GRPC_SECONDS, without_private


def test_headers_between_workers_are_removed() -> None:
    mine = [(b"x-quantserve", b"1"), (b"host", b"a"), (b"x-api-key", b"k")]
    assert without_private([(CLIENT, b"::1 5"), *mine, (GRPC_SECONDS, b"")]) == mine
