"""The log lines of the server, and values that are not logged."""

import json
import logging
from datetime import UTC, datetime

import pytest

from service.core.events import Outcome, RequestCompleted, StateChanged
from service.core.lifecycle import State
from service.logs import Log, _JsonLines

REQUEST = RequestCompleted("m", 1, "v2", Outcome.OK, 0.25, "id-7", "", 1)


@pytest.mark.parametrize(
    ("asked", "level", "lines"),
    [(False, logging.INFO, 0), (False, logging.DEBUG, 1), (True, logging.INFO, 1)],
)
def test_requests_are_logged_by_the_access_log_or_at_debug_level(
    caplog: pytest.LogCaptureFixture, asked: bool, level: int, lines: int
) -> None:
    with caplog.at_level(level):
        Log(asked)(REQUEST)
    assert len(caplog.messages) == lines
    for record in caplog.records:
        fields = vars(record)["fields"]
        assert (fields["model"], fields["request_id"], fields["outcome"]) == ("m", "id-7", "ok")


def test_a_version_that_cannot_serve_is_an_error(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.INFO):
        Log(False)(StateChanged("m", 1, State.UNAVAILABLE, "no graph"))
    (record,) = caplog.records
    assert record.levelno == logging.ERROR and "no graph" in record.getMessage()


def test_json_lines_have_fields_and_a_time_with_its_zone() -> None:
    record = logging.LogRecord("quantserve", logging.INFO, "", 0, "request", None, None)
    record.fields = {"request_id": "a\nb", "outcome": "ok"}
    line = _JsonLines().format(record)
    found = json.loads(line)
    assert "\n" not in line
    assert found["request_id"] == "a\nb" and found["message"] == "request"
    assert datetime.fromisoformat(found["time"]).tzinfo == UTC
