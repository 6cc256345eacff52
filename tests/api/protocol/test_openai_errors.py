"""Errors in the words of OpenAI's API."""

import pytest

from service.api.protocol.openai_errors import body, headers, status
from service.api.protocol.openai_requests import BadArgument
from service.core.errors import (
    ExecutionFailed,
    NotFound,
    NotReady,
    QueueFull,
    Unauthenticated,
    WouldExpire,
)


@pytest.mark.parametrize(
    ("error", "number", "kind", "code"),
    [
        (BadArgument("no", "n"), 400, "invalid_request_error", None),
        (NotFound("no"), 404, "invalid_request_error", "model_not_found"),
        (Unauthenticated("no"), 401, "authentication_error", "invalid_api_key"),
        (QueueFull("no"), 429, "rate_limit_error", "rate_limit_exceeded"),
        (NotReady("no"), 503, "server_error", None),
        (ExecutionFailed("no"), 500, "server_error", None),
    ],
)
def test_clients_raise_what_they_would_there(
    error: Exception, number: int, kind: str, code: str | None
) -> None:
    told = body(error)["error"]
    assert (status(error), told["type"], told["code"]) == (number, kind, code)
    assert told["message"] == "no"
    assert told["param"] == ("n" if isinstance(error, BadArgument) else None)


def test_what_is_not_ours_is_masked() -> None:
    assert body(ValueError("a secret"))["error"]["message"] == "internal error"


def test_when_to_try_again() -> None:
    assert headers(NotReady("no")) == {"retry-after": "1"}
    assert headers(WouldExpire("no", 2.5)) == {"retry-after": "3"}
    assert headers(NotFound("no")) == {}
