"""The stack of docker-compose.yml: a swap under load, Prometheus, a replica that dies."""

import json
import re
import time
from http.client import HTTPConnection

from tests.deploy.engine import KEY, Stack, docker, grafana_there, stack
from tests.deploy.load import loading, until
from tests.deploy.prometheus import Prometheus, free_port
from tests.system.process import ROOT

DIGITS = ROOT / "models/digits"
SERIES = (
    "quantserve_requests_total",
    "quantserve_request_duration_seconds_bucket",
    "quantserve_batch_rows_bucket",
    "quantserve_model_info",
    "quantserve_memory_limit_bytes",
    "process_resident_memory_bytes",
)


def check_stack(report: dict[str, str]) -> None:
    """Start the stack, test it, and stop it."""
    ports = {name: free_port() for name in PORTS}
    with stack(f"quantserve-test-{ports['SERVER_PORT']}", ports) as each:
        wanted = ["quantserve", "prometheus"]
        if grafana_there():
            wanted.append("grafana")
        else:
            report["Grafana"] = "not tried: its image is not to be had here"
        each.compose("up", "--wait", "--no-build", *wanted)
        prometheus = Prometheus(f"127.0.0.1:{ports['PROMETHEUS_PORT']}")
        swap_under_load(ports["SERVER_PORT"], report)
        see_in_prometheus(prometheus, report)
        each.compose("up", "--wait", "--no-build", "--scale", "replica=2", "replica", "balancer")
        until(lambda: servers_up(ports["BALANCER_STATUS_PORT"]) == 3, 60, "three servers up")
        follow(each, ports, report)
        kill_under_load(each, ports, report)
        upgrade_under_load(each, ports, report)
        miss_one(each, prometheus, report)


HELD = 'max_over_time(min_over_time(sum(up{job="quantserve"})[3m:15s])[15m:15s])'
PORTS = (
    "SERVER_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT", "BALANCER_PORT", "BALANCER_STATUS_PORT",
)  # fmt: skip


def swap_under_load(port: int, report: dict[str, str]) -> None:
    """Swap and swap back while clients predict: nothing fails, and both versions answer."""
    with loading(port, DIGITS, 4) as answers:
        for version in (1, 2, 1, 2):
            time.sleep(1)
            assert swap(port, version) == 200
        time.sleep(1)
    report["four swaps under load"] = f"{answers.failed.total()} of {answers.sent} requests failed"
    assert not answers.failed and answers.versions == {"1", "2"}, answers


def swap(port: int, version: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=60)
    headers = {"Authorization": f"Bearer {KEY}"}
    connection.request(
        "POST", "/admin/models/digits/swap", json.dumps({"version": version}), headers
    )
    return connection.getresponse().status


def see_in_prometheus(prometheus: Prometheus, report: dict[str, str]) -> None:
    """Check that the series exist, and that all rules are loaded and healthy."""
    for name in SERIES:
        until(lambda: prometheus.query(f'{name}{{job="quantserve"}}'), 60, name)  # noqa: B023
    until(lambda: all(rule["health"] == "ok" for rule in prometheus.rules()), 90, "healthy rules")
    report["rules loaded"] = str(len(prometheus.rules()))


def follow(each: Stack, ports: dict[str, int], report: dict[str, str]) -> None:
    """Check that replicas follow a swap on one server, and that no request fails meanwhile."""
    with loading(ports["BALANCER_PORT"], DIGITS, 4) as answers:
        begun = time.monotonic()
        assert swap(ports["SERVER_PORT"], 1) == 200
        replicas = each.containers("replica")
        for name in replicas:
            until(lambda: serving(name) == "1", 60, f"{name} follows")  # noqa: B023
        report["a swap is followed by all replicas after"] = f"{time.monotonic() - begun:.1f} s"
    assert not answers.failed and "1" in answers.versions, answers
    assert swap(ports["SERVER_PORT"], 2) == 200


def serving(container: str) -> str:
    """Return the version of digits that a server answers with."""
    script = "import urllib.request as r; print(r.urlopen('http://127.0.0.1:8000/metrics').read().decode())"
    page = docker("exec", container, "python", "-c", script)
    found = re.search(r'quantserve_model_serving{model="digits",version="(\d+)"} 1', page)
    return found[1] if found else ""


def kill_under_load(each: Stack, ports: dict[str, int], report: dict[str, str]) -> None:
    """Check that no request is lost when a replica dies and another one is stopped."""
    clients = 6
    with loading(ports["BALANCER_PORT"], DIGITS, clients) as killed:
        time.sleep(2)
        docker("kill", each.containers("replica")[0])
        time.sleep(4)
    report["a replica killed under load"] = f"{killed.failed.total()} of {killed.sent} failed"
    assert not killed.failed, killed
    with loading(ports["BALANCER_PORT"], DIGITS, clients) as drained:
        time.sleep(1)
        docker("stop", "--time", "30", each.containers("replica")[0])
        time.sleep(2)
    report["a replica stopped under load"] = f"{drained.failed.total()} of {drained.sent} failed"
    assert not drained.failed, drained


def upgrade_under_load(each: Stack, ports: dict[str, int], report: dict[str, str]) -> None:
    """Change a setting with deploy/upgrade.sh, and with Compose only: no request is lost."""
    servers = ("quantserve", "replica")
    plain = ("up", "--detach", "--no-build", "--scale", "replica=2", *servers, "balancer")
    each.compose(*plain)
    until(lambda: servers_up(ports["BALANCER_STATUS_PORT"]) == 3, 60, "three servers up")
    ways = {"deploy/upgrade.sh": each.upgrade, "docker compose up": lambda: each.compose(*plain)}
    for number, (name, change) in enumerate(ways.items(), 1):
        each.environment["SERVER_MEMORY"] = f"{900 + number}m"
        before = {c for service in servers for c in each.containers(service)}
        with loading(ports["BALANCER_PORT"], DIGITS, 6) as answers:
            time.sleep(1)
            change()
            until(lambda: servers_up(ports["BALANCER_STATUS_PORT"]) == 3, 60, "three servers up")
            time.sleep(1)
        now = {c for service in servers for c in each.containers(service)}
        assert len(now) == len(before) and not now & before
        report[f"a setting changed by {name}"] = (
            f"{answers.failed.total()} of {answers.sent} failed"
        )
        assert not answers.failed, answers


def miss_one(each: Stack, prometheus: Prometheus, report: dict[str, str]) -> None:
    """Check that a replica that dies, and disappears from discovery, raises an alert."""

    def state() -> object:
        states = {rule["name"]: rule.get("state") for rule in prometheus.rules()}
        return states["QuantserveServerGone"]

    until(lambda: len(prometheus.query('up{job="quantserve"} == 1')) == 3, 60, "three scraped")
    until(lambda: prometheus.query(f"{HELD} == 3"), 260, "three servers for three minutes")
    assert state() == "inactive", state()  # none of the upgrades has raised it
    docker("kill", each.containers("replica")[0])
    begun = time.monotonic()
    until(lambda: state() == "firing", 180, "QuantserveServerGone")
    report["an alert for a replica that is gone after"] = f"{time.monotonic() - begun:.0f} s"


def servers_up(port: int) -> int:
    """Return the servers that the balancer sends requests to."""
    connection = HTTPConnection("127.0.0.1", port, timeout=5)
    connection.request("GET", "/;csv")
    rows = [line.split(",") for line in connection.getresponse().read().decode().splitlines()]
    status = rows[0].index("status")
    return sum(
        row[0] == "servers" and row[1] != "BACKEND" and row[status] == "UP"
        for row in rows
        if len(row) > status
    )
