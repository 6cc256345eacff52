"""Errors in the format of OpenAI's API, so that its clients raise the matching exceptions."""

from math import ceil
from typing import Any

from service.api.protocol.errors import status_of
from service.core import errors

RETRY_SECONDS = 1
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def status(error: BaseException) -> int:
    """Return the HTTP status of an error. A full queue is a rate limit in this API."""
    return 429 if isinstance(error, errors.QueueFull) else status_of(error)


def headers(error: BaseException) -> dict[str, str]:
    """Return a ``Retry-After`` header, if a retry makes sense."""
    if isinstance(error, errors.QueueFull):
        return {"retry-after": str(max(RETRY_SECONDS, ceil(error.retry_after)))}
    again = isinstance(error, errors.MemoryFull | errors.NotReady)
    return {"retry-after": str(RETRY_SECONDS)} if again else {}


def body(error: BaseException) -> dict[str, Any]:
    """Return ``{"error": {...}}``. The text of an unexpected error is masked."""
    number = status(error)
    text = str(error) if isinstance(error, errors.QuantserveError) else "internal error"
    kind = TYPES.get(number, "invalid_request_error" if number < 500 else "server_error")
    param = error.param if isinstance(error, errors.BadArgument) else None
    return {"error": {"message": text, "type": kind, "param": param, "code": _code(error)}}


def _code(error: BaseException) -> str | None:
    codes = {
        errors.NotFound: "model_not_found",
        errors.QueueFull: "rate_limit_exceeded",
        errors.Unauthenticated: "invalid_api_key",
    }
    return next((code for kind, code in codes.items() if isinstance(error, kind)), None)
