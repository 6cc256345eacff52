"""How the process writes its log: text for people, JSON lines for machines."""

import json
import logging
import sys

from service.config import Settings


class _JsonLines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": self.formatTime(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        if record.exc_info:
            line["error"] = str(record.exc_info[1])
        return json.dumps(line)


def start_logs(settings: Settings) -> None:
    """Send the log to standard error, as the settings say."""
    as_json = settings.log_format == "json"
    if settings.log_format == "auto":
        as_json = not sys.stderr.isatty()
    stream = logging.StreamHandler()
    text = logging.Formatter("%(asctime)s %(levelname)-7s %(message)s")
    stream.setFormatter(_JsonLines() if as_json else text)
    logging.basicConfig(level=settings.log_level.upper(), handlers=[stream], force=True)
    logging.getLogger("uvicorn").setLevel(logging.WARNING)
