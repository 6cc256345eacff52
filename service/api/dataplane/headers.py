"""The headers of an inference request."""

from collections.abc import Mapping

from service.core.errors import MalformedRequest

Headers = Mapping[bytes, bytes]


def header_length(headers: Headers) -> int | None:
    """Return the length of the JSON in front of binary tensors; None if the body has no tensors
    in binary form.

    Raises:
        MalformedRequest: the header is not a length.
    """
    value = headers.get(b"inference-header-content-length")
    if value is None:
        return None
    if not value.isdigit() or len(value) > 18:
        shown = value.decode("latin-1")
        raise MalformedRequest(f'Inference-Header-Content-Length "{shown:.40}" is not a length')
    return int(value)
