"""What the server logs, and what it keeps to itself."""

import logging

import pytest

from service.app import Log
from service.core.events import Outcome, RequestCompleted, StateChanged
from service.core.lifecycle import State

REQUEST = RequestCompleted("m", 1, "v2", Outcome.OK, 0.25, "id-7", "", 1)


@pytest.mark.parametrize(
    ("asked", "level", "lines"),
    [(False, logging.INFO, 0), (False, logging.DEBUG, 1), (True, logging.INFO, 1)],
)
def test_requests_are_logged_when_asked_for_or_when_the_level_says_so(
    caplog: pytest.LogCaptureFixture, asked: bool, level: int, lines: int
) -> None:
    with caplog.at_level(level):
        Log(asked)(REQUEST)
    assert len(caplog.messages) == lines
    assert all("model=m" in line and "request_id=id-7" in line for line in caplog.messages)


def test_a_version_that_cannot_serve_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Log(False)(StateChanged("m", 1, State.UNAVAILABLE, "no graph"))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and "no graph" in record.getMessage()
