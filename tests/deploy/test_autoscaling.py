"""The metrics that autoscalers query exist, and measure how busy servers are."""

import re
import subprocess
from pathlib import Path

import httpx
import pytest
import yaml

from tests.deploy.manifests import KUBERNETES, documents
from tests.parts import PROMETHEUS, prometheus_installed
from tests.patience import PATIENCE

KEDA = KUBERNETES / "components/keda/scaledobject.yaml"
ADAPTER = KUBERNETES / "components/replicas/autoscaling.yaml"


@pytest.mark.parametrize("file", [KEDA, ADAPTER], ids=["keda", "adapter"])
async def test_the_series_of_the_autoscalers_exist(file: Path, client: httpx.AsyncClient) -> None:
    metrics = (await client.get("/metrics")).text
    used = set(re.findall(r"\bquantserve_instance\w+", file.read_text()))
    assert used == {"quantserve_instance_busy_seconds_total", "quantserve_instances"}
    for name in used:
        assert f"\n{name}{{" in metrics


def test_the_autoscaler_uses_the_metric_of_the_adapter() -> None:
    (scaler,) = documents(ADAPTER)
    comment = "\n".join(
        line.removeprefix("# ").removeprefix("#")
        for line in ADAPTER.read_text().splitlines()
        if line.startswith("#   ")
    )
    (rule,) = yaml.safe_load(comment)["rules"]
    (metric,) = scaler["spec"]["metrics"]
    assert metric["pods"]["metric"]["name"] == rule["name"]["as"]


@PROMETHEUS.unless(prometheus_installed())
def test_keda_gets_the_sum_of_the_busiest_models(tmp_path: Path) -> None:
    """One pod has a model whose two instances are busy half of the time, and a model that is busy a
    tenth of it; another pod is idle. KEDA divides by the pods: 0.25.
    """
    (scaled,) = documents(KEDA)
    query = scaled["spec"]["triggers"][0]["metadata"]["query"]
    series = [
        ("busy_seconds_total", "a", "digits", "0+60x10"), ("s", "a", "digits", "2x10"),
        ("busy_seconds_total", "a", "diabetes", "0+6x10"), ("s", "a", "diabetes", "1x10"),
        ("busy_seconds_total", "b", "digits", "0x10"), ("s", "b", "digits", "2x10"),
    ]  # fmt: skip
    test = {
        "rule_files": [],
        "tests": [
            {
                "interval": "1m",
                "input_series": [
                    {
                        "series": f"quantserve_instance{'' if name == 's' else '_'}{name}"
                        f'{{job="quantserve",pod="{pod}",model="{model}",version="1"}}',
                        "values": values,
                    }
                    for name, pod, model, values in series
                ],
                "promql_expr_test": [
                    {
                        "expr": query,
                        "eval_time": "10m",
                        "exp_samples": [{"labels": "{}", "value": 0.5}],
                    }
                ],
            }
        ],
    }
    file = tmp_path / "test.yml"
    file.write_text(yaml.safe_dump(test).replace("[1m]", "[5m]"))  # two samples within a window
    command = ["promtool", "test", "rules", file]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
