"""Each waiting reply is answered once; a reply that fails does not affect others."""

import asyncio
import logging
from typing import Any

import numpy as np
import pytest

from service.core.errors import ExecutionFailed, QuantserveError
from service.core.tensors import Arrays
from service.engine.runtime.replies import Reply, answer

OUTPUTS: Arrays = (np.ones(2),)
FAILED = ExecutionFailed("the model failed")


class Broken:
    """A reply that raises an error."""

    def done(self) -> bool:
        return False

    def set_result(self, outputs: Arrays, /) -> None:
        raise ZeroDivisionError("in a callback")

    def set_exception(self, error: BaseException, /) -> None:
        raise ZeroDivisionError("in a callback")


def waiting() -> asyncio.Future[Any]:
    return asyncio.get_running_loop().create_future()


async def test_outputs_and_errors_reach_the_reply() -> None:
    good, bad = waiting(), waiting()
    assert answer(good, OUTPUTS) is False
    assert good.result() is OUTPUTS
    assert answer(bad, FAILED) is True
    assert bad.exception() is FAILED


@pytest.mark.parametrize("result", [OUTPUTS, FAILED])
async def test_cancelled_and_answered_replies_are_skipped(
    result: Arrays | QuantserveError,
) -> None:
    left, answered = waiting(), waiting()
    left.cancel()
    answered.set_result(OUTPUTS)
    for reply in (left, answered):
        assert answer(reply, result) is (result is FAILED)
    assert left.cancelled() and answered.result() is OUTPUTS


@pytest.mark.parametrize("result", [OUTPUTS, FAILED])
def test_a_reply_that_raises_is_logged_and_counts_as_failed(
    result: Arrays | QuantserveError, caplog: pytest.LogCaptureFixture
) -> None:
    reply: Reply = Broken()
    with caplog.at_level(logging.ERROR):
        assert answer(reply, result) is True
    assert caplog.messages == ["a reply failed: ZeroDivisionError: in a callback"]
