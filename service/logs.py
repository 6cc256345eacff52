"""Writes events to the log: text for people, JSON for machines; changes have a separate log.

The logger ``quantserve`` has events of models, ``quantserve.audit`` the author of each change.
"""

import logging
import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from service.config.settings import Settings
from service.core.events import (
    AccessRefused,
    ChangeCompleted,
    Event,
    PhaseStatus,
    RequestCompleted,
    StateChanged,
    Swapped,
    SwapPhase,
    ThreadLost,
)
from service.core.figures import dumps
from service.core.lifecycle import State
from service.engine.repository.version import UNLOADED

_log = logging.getLogger("quantserve")
_audit = logging.getLogger("quantserve.audit")


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat("T", "milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **getattr(record, "fields", {}),
        }
        if record.exc_info:
            line["error"] = str(record.exc_info[1])
        return dumps(line)


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        # Values from outside are quoted, so that none can contain a line break.
        fields: dict[str, Any] = getattr(record, "fields", {})
        pairs = (f" {key}={dumps(value)}" for key, value in fields.items())
        return super().format(record) + "".join(pairs)


def logs_json(settings: Settings) -> bool:
    """Check whether the log has lines of JSON."""
    if settings.log_format == "auto":
        return not sys.stderr.isatty()
    return settings.log_format == "json"


def json_line(message: str, fields: Mapping[str, Any], level: int = logging.INFO) -> str:
    """Format a line as the log does, for standard output: log collectors merge both streams."""
    record = logging.LogRecord("quantserve", level, "", 0, "%s", (message,), None)
    record.fields = fields
    return _JsonLines().format(record)


def start_logs(settings: Settings) -> None:
    """Send the log to standard error, in the format of the settings."""
    stream = logging.StreamHandler()
    text = _Text("%(asctime)s %(levelname)-7s %(message)s")
    stream.setFormatter(_JsonLines() if logs_json(settings) else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[stream], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
    _audit.setLevel(logging.INFO)  # written whatever the level of the rest


class Log:
    """An observer that logs the events that an operator must know. It also logs each request if a
    setting, or temporarily the level of the log, says so.
    """

    def __init__(self, requests: bool) -> None:
        self._requests = requests

    def __call__(self, event: Event) -> None:
        if type(event) is RequestCompleted:
            level = logging.INFO if self._requests else logging.DEBUG
            if _log.isEnabledFor(level):
                _log.log(level, "request", extra={"fields": _of_request(event)})
        elif isinstance(event, StateChanged):
            failed = event.state is State.UNAVAILABLE and event.reason != UNLOADED
            level = logging.ERROR if failed else logging.INFO
            _log.log(level, "model %s version %s is %s %s", *event)
        elif isinstance(event, ThreadLost):
            text = "returned late" if event.back else "does not return, and was given up"
            level = logging.INFO if event.back else logging.ERROR
            _log.log(level, "model %s version %s: a thread %s", event.model, event.version, text)
        elif isinstance(event, Swapped):
            level = logging.WARNING if event.forced else logging.INFO
            forced = f" although it failed {event.forced}" if event.forced else ""
            text = "model %s: version %s serves after %s (%s)%s"
            _log.log(level, text, event.model, event.new, event.old or "none", event.cause, forced)
        elif isinstance(event, SwapPhase) and event.status is not PhaseStatus.STARTED:
            _log.debug("model %s version %s: %s %s in %.3f s %s", *event)


def audit_log(event: Event) -> None:
    """Write a line for every requested change, whether it was done or not; an observer."""
    if isinstance(event, ChangeCompleted):
        fields = _of_change(event)
    elif isinstance(event, AccessRefused):
        fields = {"action": "access", "method": event.method, "path": event.path}
        fields["outcome"] = "refused"
    else:
        return
    name, address, request_id = event.actor
    who = {"who": name, "address": address, "request_id": request_id}
    known = {**who, **fields, "error": event.error or None}
    shown = {key: value for key, value in known.items() if value is not None}
    _audit.info("audit", extra={"fields": shown})


def _of_request(event: RequestCompleted) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "request_id": event.request_id,
        "model": event.model or None,
        "version": event.version or None,
        "protocol": event.protocol,
        "outcome": event.outcome.value,
        "rows": event.rows or None,
        "seconds": round(event.seconds, 6),
        "error": event.error or None,
    }
    return {key: value for key, value in fields.items() if value is not None}


def _of_change(event: ChangeCompleted) -> dict[str, Any]:
    return {
        "action": event.verb.value,
        "model": event.model,
        "from": event.before,
        "to": event.after,
        "forced": event.forced,
        "outcome": event.outcome.value,
        "seconds": round(event.seconds, 3),
        "note": event.note or None,
    }
