"""Errors have the status codes that Triton's client expects."""

import pytest
from grpc import StatusCode

from service.api.grpc.statuses import code_of
from service.api.protocol.errors import STATUS, status_of
from service.core import errors

CODES = [
    (errors.MalformedRequest("x"), StatusCode.INVALID_ARGUMENT),
    (errors.SignatureMismatch("x"), StatusCode.INVALID_ARGUMENT),
    (errors.NotFound("x"), StatusCode.NOT_FOUND),
    (errors.NotReady("x"), StatusCode.UNAVAILABLE),
    (errors.QueueFull("x"), StatusCode.UNAVAILABLE),
    (errors.DeadlineExceeded("x"), StatusCode.DEADLINE_EXCEEDED),
    (errors.ResponseTooLarge("x"), StatusCode.RESOURCE_EXHAUSTED),
    (errors.NotSupported("x"), StatusCode.UNIMPLEMENTED),
    (errors.Unauthenticated("x"), StatusCode.UNAUTHENTICATED),
    (errors.Forbidden("x"), StatusCode.PERMISSION_DENIED),
    (errors.GateFailed("x", "y"), StatusCode.FAILED_PRECONDITION),
    (errors.ExecutionFailed("x"), StatusCode.INTERNAL),
    (ValueError("x"), StatusCode.INTERNAL),
]


@pytest.mark.parametrize(("error", "code"), CODES)
def test_each_error_has_its_status_code(error: Exception, code: StatusCode) -> None:
    assert code_of(status_of(error)) is code


def test_only_errors_of_the_server_are_internal() -> None:
    internal = {status for status in STATUS.values() if code_of(status) is StatusCode.INTERNAL}
    assert internal == {500}
