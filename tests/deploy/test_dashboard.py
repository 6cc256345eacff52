"""Every query of the dashboard returns data, with a real Prometheus, server and requests."""

import json
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.deploy.prometheus import DEPLOY, Prometheus, scraping, until
from tests.engine.generation import tiny_llama
from tests.parts import PROMETHEUS, prometheus_installed
from tests.patience import PATIENCE
from tests.system.process import KEY, ROOT, running

FILE = DEPLOY / "grafana/dashboards/quantserve.json"
DASHBOARD = json.loads(FILE.read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
QUERIES = [
    pytest.param(target["expr"], id=f"{panel['title']} {target['refId']}".replace(" ", "-"))
    for panel in PANELS
    for target in panel["targets"]
]
VARIABLES = {"$model": ".*", "$instance": ".*", "$__rate_interval": "10s"}


def test_the_file_is_up_to_date_with_its_generator(tmp_path: Path) -> None:
    shutil.copytree(DEPLOY / "grafana", tmp_path / "grafana")
    subprocess.run(
        [sys.executable, tmp_path / "grafana/dashboard.py"], check=True, timeout=PATIENCE
    )
    assert (tmp_path / "grafana/dashboards/quantserve.json").read_text() == FILE.read_text()


def test_panels_do_not_overlap_and_have_titles_descriptions_and_units() -> None:
    taken = set[tuple[int, int]]()
    for panel in DASHBOARD["panels"]:
        x, y, w, h = (panel["gridPos"][key] for key in "xywh")
        cells = {(column, line) for column in range(x, x + w) for line in range(y, y + h)}
        assert x + w <= 24 and not cells & taken
        taken |= cells
    for panel in PANELS:
        assert panel["title"] and panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
    numbers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(numbers)) == len(numbers)


def test_grafana_is_configured_with_prometheus_and_the_dashboard() -> None:
    folder = DEPLOY / "grafana/provisioning"
    assert "url: http://prometheus:9090" in (folder / "datasources/prometheus.yml").read_text()
    assert "path: /etc/dashboards" in (folder / "dashboards/quantserve.yml").read_text()


@pytest.fixture(scope="module")
def prometheus(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    """A Prometheus that has scraped predictions, a swap and a version that failed the gate."""
    PROMETHEUS.need(prometheus_installed())
    folder = tmp_path_factory.mktemp("dashboard")
    shutil.copytree(ROOT / "models", folder / "models")
    tiny_llama.write(folder / "models/tiny/1")
    broken = folder / "models/digits/3"
    broken.mkdir()
    (broken / "model.onnx").write_bytes(b"no graph")
    shutil.move(broken, folder / "3")
    with (
        running(folder / "models") as server,
        scraping(server.address, folder) as found,
        predicting(server.address),
    ):
        shutil.move(folder / "3", broken)
        assert post(server.address, "/admin/models/digits/swap", b'{"version": 3}') >= 400
        assert post(server.address, "/admin/models/digits/swap", b'{"version": 1}') == 200
        until(lambda: found.query('rate(quantserve_requests_total{version="1"}[10s]) > 0'))
        until(lambda: found.query("quantserve_rollout_failures_total"))
        yield found


@contextmanager
def predicting(address: str) -> Iterator[None]:
    """Send requests to both models while the context lasts."""
    done = threading.Event()
    bodies = {name: (ROOT / f"models/{name}/example.json").read_bytes() for name in MODELS}

    def send() -> None:
        while not done.is_set():
            for name, body in bodies.items():
                assert post(address, f"/v2/models/{name}/infer", body) == 200
            assert post(address, "/v2/models/tiny/generate", b'{"text_input": "a"}') == 200
            done.wait(0.01)

    sender = threading.Thread(target=send)
    sender.start()
    try:
        yield
    finally:
        done.set()
        sender.join()


MODELS = ("digits", "diabetes")


def post(address: str, path: str, body: bytes) -> int:
    with closing(HTTPConnection(address, timeout=PATIENCE)) as connection:
        connection.request("POST", path, body, {"X-API-Key": KEY})
        answer = connection.getresponse()
        answer.read()
    return answer.status


def filled(expr: str) -> str:
    for name, value in VARIABLES.items():
        expr = expr.replace(name, value)
    return expr


@pytest.mark.parametrize("expr", QUERIES)
def test_a_panel_has_data(prometheus: Prometheus, expr: str) -> None:
    def has_data() -> bool:
        values = {sample["value"][1] for sample in prometheus.query(filled(expr))}
        return bool(values - {"NaN"})

    until(has_data)


def test_a_swap_is_annotated(prometheus: Prometheus) -> None:
    (annotation,) = DASHBOARD["annotations"]["list"]
    swap = {"model": "digits", "version": "1"}

    def is_drawn() -> bool:  # once the first scrape after the swap is there
        found = prometheus.query(filled(annotation["expr"]))
        return swap in [sample["metric"] for sample in found]

    until(is_drawn)


def test_variables_have_values(prometheus: Prometheus) -> None:
    for label in ("model", "instance"):
        assert prometheus.query(f"count by ({label}) (quantserve_model_state)")


def test_all_rules_are_healthy(prometheus: Prometheus) -> None:
    rules = prometheus.rules()
    assert len(rules) == 36
    assert [rule for rule in rules if rule["health"] != "ok"] == []


def test_a_rejected_version_raises_an_alert(prometheus: Prometheus) -> None:
    def firing() -> bool:
        states = {rule["name"]: rule.get("state") for rule in prometheus.rules()}
        return states["QuantserveRolloutFailed"] == "firing"

    until(firing)
