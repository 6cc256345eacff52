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
def test_errors_in_openais_words(
    error: errors.QuantserveError, number: int, kind: str, code: str | None
) -> None:
    told = body(error)["error"]
    assert (status(error), told["type"], told["code"]) == (number, kind, code)
    assert told["message"] == str(error)


def test_what_is_not_ours_is_masked() -> None:
    assert body(ValueError("secret"))["error"]["message"] == "internal error"


def test_when_to_try_again() -> None:
    assert headers(errors.QueueFull("full")) == {"retry-after": "1"}
    assert headers(errors.NotFound("no")) == {}
