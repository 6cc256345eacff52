"""A client that sends predictions without a pause and counts their outcomes."""

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.client import HTTPConnection, HTTPException
from pathlib import Path


@dataclass(slots=True)
class Answers:
    """Requests answered with 200, outcomes of the others, and the versions that answered."""

    good: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    versions: set[str] = field(default_factory=set)

    @property
    def sent(self) -> int:
        return self.good + self.failed.total()


@contextmanager
def loading(port: int, model: Path, clients: int) -> Iterator[Answers]:
    """Run this many clients while the context lasts; the answers are complete after it."""
    body, done = (model / "example.json").read_bytes(), threading.Event()
    mine = [Answers() for _ in range(clients)]
    threads = [
        threading.Thread(target=_send, args=(port, model.name, body, done, each)) for each in mine
    ]
    for thread in threads:
        thread.start()
    total = Answers()
    try:
        yield total
    finally:
        done.set()
        for thread in threads:
            thread.join(60)
        for each in mine:
            total.good += each.good
            total.failed += each.failed
            total.versions |= each.versions


def _send(port: int, model: str, body: bytes, done: threading.Event, mine: Answers) -> None:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    while not done.is_set():
        try:
            connection.request("POST", f"/v2/models/{model}/infer", body)
            answer = connection.getresponse()
            content = answer.read()
        except (OSError, HTTPException) as error:
            mine.failed[type(error).__name__] += 1
            connection.close()
            continue
        if answer.status == 200:
            mine.good += 1
            mine.versions.add(content.split(b'"model_version":"')[1].split(b'"')[0].decode())
        else:
            mine.failed[f"{answer.status} {content[:120]!r}"] += 1
    connection.close()


def until(true: Callable[[], object], seconds: float, what: str) -> None:
    """Repeat a call until it returns a true value; a failed connection counts as false."""
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            if true():
                return
        except (OSError, HTTPException, ValueError):
            pass
        time.sleep(0.02)
    raise AssertionError(f"not within {seconds} s: {what}")
