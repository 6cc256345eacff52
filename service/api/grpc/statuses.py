"""The gRPC status code of each HTTP status. The HTTP status of each error is in one table, in
``service.api.protocol.errors``.

Clients retry UNAVAILABLE automatically, and no other code. Triton's clients check for
INVALID_ARGUMENT, NOT_FOUND, UNAVAILABLE and UNIMPLEMENTED.
"""

from grpc import StatusCode

_CODES = {
    400: StatusCode.INVALID_ARGUMENT,
    401: StatusCode.UNAUTHENTICATED,
    403: StatusCode.PERMISSION_DENIED,
    404: StatusCode.NOT_FOUND,
    405: StatusCode.UNIMPLEMENTED,
    408: StatusCode.DEADLINE_EXCEEDED,
    409: StatusCode.FAILED_PRECONDITION,
    413: StatusCode.RESOURCE_EXHAUSTED,
    415: StatusCode.INVALID_ARGUMENT,
    422: StatusCode.INVALID_ARGUMENT,
    501: StatusCode.UNIMPLEMENTED,
    503: StatusCode.UNAVAILABLE,
    504: StatusCode.DEADLINE_EXCEEDED,
    507: StatusCode.RESOURCE_EXHAUSTED,
}


def code_of(status: int) -> StatusCode:
    """Return the status code for an error with this HTTP status."""
    return _CODES.get(status, StatusCode.INTERNAL)
