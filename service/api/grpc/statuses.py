"""Which status of gRPC stands for each status of HTTP: errors have theirs in one table, that of
``service.api.protocol.errors``.

Clients try UNAVAILABLE again, and nothing else by themselves. What Triton's clients look for is
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
    """The code for an error of this HTTP status."""
    return _CODES.get(status, StatusCode.INTERNAL)
