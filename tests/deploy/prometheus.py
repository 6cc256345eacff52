"""A real Prometheus from the machine's packages, which scrapes a test server."""

import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

from tests.patience import PATIENCE
from tests.system.process import ROOT

DEPLOY = ROOT / "deploy"
CONFIG = """
global: {scrape_interval: 500ms, evaluation_interval: 500ms}
rule_files: [rules/*.yml]
scrape_configs:
  - job_name: quantserve
    static_configs: [{targets: ["%s"]}]
"""


@dataclass(frozen=True, slots=True)
class Prometheus:
    """A running Prometheus, at host:port."""

    address: str

    def query(self, expr: str) -> list[dict[str, Any]]:
        """Return the current series of a query; an invalid query raises ValueError."""
        return self._ask("query", {"query": expr})["result"]  # type: ignore[no-any-return]

    def exemplars(self, expr: str) -> list[dict[str, Any]]:
        """Return the exemplars of the last minutes."""
        now = time.time()
        return self._ask("query_exemplars", {"query": expr, "start": now - 300, "end": now + 10})  # type: ignore[no-any-return]

    def rules(self) -> list[dict[str, Any]]:
        """Return all loaded rules."""
        return [rule for group in self._ask("rules", {})["groups"] for rule in group["rules"]]

    def _ask(self, what: str, parameters: dict[str, Any]) -> Any:
        with closing(HTTPConnection(self.address, timeout=PATIENCE)) as connection:
            connection.request("GET", f"/api/v1/{what}?{urlencode(parameters)}")
            answer = json.loads(connection.getresponse().read())
        if answer["status"] != "success":
            raise ValueError(f"{parameters}: {answer['error']}")
        return answer["data"]


@contextmanager
def scraping(target: str, folder: Path) -> Iterator[Prometheus]:
    """Scrape host:port with the rules of deploy/, evaluated every half second."""
    (folder / "rules").mkdir()
    for rules in (DEPLOY / "prometheus/rules").glob("*.yml"):
        text = rules.read_text().replace("interval: 30s", "interval: 500ms")
        (folder / "rules" / rules.name).write_text(text)
    (folder / "prometheus.yml").write_text(CONFIG % target)
    address = f"127.0.0.1:{free_port()}"
    with (folder / "log").open("w") as log:
        process = subprocess.Popen(
            [
                "prometheus",
                f"--config.file={folder / 'prometheus.yml'}",
                f"--storage.tsdb.path={folder / 'data'}",
                f"--web.listen-address={address}",
                "--enable-feature=exemplar-storage",
            ],
            stderr=log,
            stdout=log,
        )
        try:
            prometheus = Prometheus(address)
            until(lambda: prometheus.query("quantserve_ready == 1"))
            yield prometheus
        finally:
            process.terminate()
            process.wait(PATIENCE)


def until(true: Callable[[], Any]) -> None:
    """Repeat a call until it returns a true value; a missing server counts as false."""
    end, problem = time.monotonic() + PATIENCE, ""
    while time.monotonic() < end:
        try:
            if true():
                return
        except (OSError, ValueError) as error:
            problem = str(error)
        time.sleep(0.1)
    raise AssertionError(f"not within {PATIENCE} s {problem}")


def free_port() -> int:
    """Return a port that no process listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])
