"""Metadata is converted to headers, as text or bytes."""

from service.api.grpc.metadata import headers_of, pairs_of


def test_text_and_bytes_become_headers() -> None:
    id = ("x-request-id", "7")
    metadata = (("x-api-key", "k"), ("trace-bin", b"\0\xff"), ("x-api-key", "l"), id)
    assert pairs_of(metadata) == [
        (b"x-api-key", b"k"),
        (b"trace-bin", b"\0\xff"),
        (b"x-api-key", b"l"),
        (b"x-request-id", b"7"),
    ]
    assert headers_of(metadata) == {b"x-request-id": b"7"}
    assert headers_of(()) == {}
