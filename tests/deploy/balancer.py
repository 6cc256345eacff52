"""A real HAProxy with the configuration of deploy/, in front of servers at fixed addresses."""

import csv
import re
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from tests.deploy.prometheus import DEPLOY, free_port
from tests.patience import PATIENCE, until

TEMPLATE = re.compile(r"^    server-template .*$", re.MULTILINE)
RESOLVERS = re.compile(r"^resolvers docker\n(?:    .*\n)+", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Balancer:
    """A running HAProxy: its address for predictions, and the address of its statistics."""

    port: int
    status_port: int

    def counted(self, proxy: str, server: str, what: str) -> str:
        """Return a field of its statistics."""
        with closing(HTTPConnection("127.0.0.1", self.status_port, timeout=PATIENCE)) as line:
            line.request("GET", "/;csv")
            text = line.getresponse().read().decode().removeprefix("# ")
        rows = csv.DictReader(text.splitlines())
        return next(r[what] for r in rows if (r["pxname"], r["svname"]) == (proxy, server))

    def up(self, number: int) -> bool:
        """Return True if it sends requests to a server."""
        return self.counted("servers", f"server{number}", "status").startswith("UP")


@contextmanager
def balancing(ports: Sequence[int], folder: Path) -> Iterator[Balancer]:
    """Balance over servers on these ports of this machine."""
    own = {name: free_port() for name in ("8080", "8404", "8405")}
    text = (DEPLOY / "haproxy/haproxy.cfg").read_text()
    lines = (f"    server server{n} 127.0.0.1:{port}" for n, port in enumerate(ports, 1))
    text, replaced = TEMPLATE.subn("\n".join(lines), RESOLVERS.sub("", text))
    assert replaced == 1
    for name, port in own.items():
        text = re.sub(
            rf"\b(bind|server again) (127.0.0.1)?:{name}\b", rf"\1 127.0.0.1:{port}", text
        )
    (folder / "haproxy.cfg").write_text(text)
    with (folder / "haproxy.log").open("w") as log:
        command = ["haproxy", "-db", "-f", str(folder / "haproxy.cfg")]
        process = subprocess.Popen(command, stdout=log, stderr=log)
    balancer = Balancer(own["8080"], own["8404"])
    try:
        until(lambda: _listens(balancer))
        yield balancer
    finally:
        process.terminate()
        process.wait(PATIENCE)


def _listens(balancer: Balancer) -> bool:
    try:
        return bool(balancer.counted("servers", "BACKEND", "status"))
    except OSError:
        return False
