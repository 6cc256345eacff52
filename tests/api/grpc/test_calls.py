"""Errors of failed requests."""

import orjson
from grpc import StatusCode

from service.api.grpc.calls import Refused
from service.api.transport.answers import refused
from service.core.errors import QueueFull, SignatureMismatch


def test_an_error_has_a_code_a_text_and_a_retry_time() -> None:
    full = Refused(refused(QueueFull("it is full")))
    assert (full.code, full.text) == (StatusCode.UNAVAILABLE, "it is full")
    assert full.metadata == (("retry-after", "1"),)
    wrong = Refused(refused(SignatureMismatch("é")))
    assert (wrong.code, wrong.text, wrong.metadata) == (StatusCode.INVALID_ARGUMENT, "é", ())
    assert orjson.loads(refused(SignatureMismatch("é")).body) == {"error": "é"}
