import pytest

from service.api.protocol.openai_errors import body, headers, status
from service.core import errors


@pytest.mark.parametrize(
    ("error", "number", "kind", "code"),
    [
        (errors.BadArgument("bad", "n"), 400, "invalid_request_error", None),
        (errors.NotFound("no"), 404, "invalid_request_error", "model_not_found"),
        (errors.QueueFull("full"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (errors.Unauthenticated("who"), 401, "authentication_error", "invalid_api_key"),
        (errors.NotReady("later"), 503, "server_error", None),
        (errors.ExecutionFailed("broken"), 500, "server_error", None),
    ],
)
def test_errors_have_openais_types_and_codes(
    error: errors.QuantserveError, number: int, kind: str, code: str | None
) -> None:
    told = body(error)["error"]
    assert (status(error), told["type"], told["code"]) == (number, kind, code)
    assert told["message"] == str(error)


def test_unexpected_errors_are_masked() -> None:
    assert body(ValueError("secret"))["error"]["message"] == "internal error"


def test_the_retry_time_is_in_a_header() -> None:
    assert headers(errors.QueueFull("full")) == {"retry-after": "1"}
    assert headers(errors.NotFound("no")) == {}
