"""The metrics page for Prometheus: correct values, and names that follow its rules."""

import asyncio
import re
import shutil
import subprocess
from pathlib import Path
from time import time

import httpx
import pytest
from prometheus_client import Metric
from prometheus_client.openmetrics.parser import (
    text_string_to_metric_families as parse_openmetrics,
)
from prometheus_client.parser import text_string_to_metric_families as parse_text

from service.engine.repository.watch import watch
from tests.inprocess import ROOT, serve
from tests.parts import PROMETHEUS, prometheus_installed
from tests.patience import PATIENCE
from tests.repositories import put, scale

OPENMETRICS = "application/openmetrics-text; version=1.0.0"
EXAMPLE = (ROOT / "models/diabetes/example.json").read_bytes()
UNITS = {"duration": "seconds", "busy": "seconds", "size": "bytes", "memory": "bytes"}
COUNTED = (
    "requests", "rows", "instances", "executions", "fds", "swaps", "failures", "restarts",
    "crashes", "threads", "refusals", "answers", "tokens",
)  # fmt: skip
FOREIGN_NAMES = ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc")
"""Of language models: those of other servers, after the prefix."""
FLAGS = (*FOREIGN_NAMES, "state", "serving", "ready", "info", "instances_busy", "quarantined")
FOREIGN_UNITS = re.compile(r"_(ms|us|ns|milli\w+|micro\w+|nano\w+|minutes|kb|mb|percent)(_|$)")
RESERVED = re.compile(r"^(__.*|le|quantile|job|instance)$")


def problems(text: str) -> list[str]:
    """Return the violations of the rules for names, units, help and labels."""
    counters = re.findall(r"^# TYPE (\S+) counter$", text, re.MULTILINE)
    found = [f"{name} is a counter without _total" for name in counters if name[-6:] != "_total"]
    for family in parse_text(text):
        name = family.name
        checks = {
            "has no help": not family.documentation,
            "is not in snake case": not re.fullmatch(r"[a-z][a-z0-9_]*", name),
            "has no unit": family.type in ("gauge", "histogram", "counter")
            and not name.endswith(("seconds", "bytes", "ratio", *COUNTED, *FLAGS)),
            "has a foreign unit": bool(FOREIGN_UNITS.search(name)),
            "says total": family.type != "counter" and name.endswith("_total"),
            "names its type": any(kind in name.split("_") for kind in ("counter", "gauge")),
            "has another unit than it measures": any(
                word in name.split("_") and not name.endswith((unit, *FLAGS))
                for word, unit in UNITS.items()
            ),
        }
        found += [f"{name} {text}" for text, broken in checks.items() if broken]
        for sample in family.samples:
            own = {"le"} if family.type == "histogram" else set()
            found += [f"{name}: label {x}" for x in set(sample.labels) - own if RESERVED.match(x)]
    return found


async def page(client: httpx.AsyncClient) -> dict[str, Metric]:
    """Return all families by name; counters without _total, as in OpenMetrics."""
    reply = await client.get("/metrics")
    assert reply.headers["content-type"].startswith("text/plain; version=0.0.4")
    return {family.name: family for family in parse_text(reply.text)}


def value(families: dict[str, Metric], name: str, **labels: str) -> float:
    """Return the value of the only sample with this name and these labels."""
    (found,) = [
        sample.value
        for family in families.values()
        for sample in family.samples
        if sample.name == name and labels.items() <= sample.labels.items()
    ]
    return float(found)


@pytest.mark.asyncio(loop_scope="session")
async def test_both_formats_are_valid_and_equal(client: httpx.AsyncClient) -> None:
    await client.post("/v2/models/diabetes/infer", content=EXAMPLE)
    text = await client.get("/metrics")
    modern = await client.get("/metrics", headers={"accept": OPENMETRICS})
    assert modern.headers["content-type"].startswith("application/openmetrics-text; version=1.0.0")
    assert modern.text.endswith("# EOF\n")
    ours = [
        {
            (sample.name, tuple(sorted(sample.labels.items()))): sample.value
            for family in families
            for sample in family.samples
            if sample.name.startswith("quantserve_")
        }
        for families in (parse_text(text.text), parse_openmetrics(modern.text))
    ]
    assert ours[0] == ours[1] and len(ours[0]) > 100


@pytest.mark.asyncio(loop_scope="session")
async def test_names_units_and_labels_follow_the_rules(client: httpx.AsyncClient) -> None:
    await client.post("/v2/models/diabetes/infer", content=EXAMPLE)
    text = (await client.get("/metrics")).text
    assert problems(text) == []
    names = [family.name for family in parse_text(text)]
    assert all(name.startswith(("quantserve_", "process_")) for name in names)
    assert "process_resident_memory_bytes" in names


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("# TYPE x_seconds gauge\nx_seconds 1\n", "x_seconds has no help"),
        ("# HELP x x\n# TYPE x gauge\nx 1\n", "x has no unit"),
        ("# HELP x_ms x\n# TYPE x_ms gauge\nx_ms 1\n", "x_ms has a foreign unit"),
        ("# HELP xBytes x\n# TYPE xBytes gauge\nxBytes 1\n", "xBytes is not in snake case"),
        (
            "# HELP a_rows x\n# TYPE a_rows counter\na_rows 1\n",
            "a_rows is a counter without _total",
        ),
        ('# HELP rows x\n# TYPE rows gauge\nrows{job="a"} 1\n', "rows: label job"),
        (
            "# HELP duration_bytes x\n# TYPE duration_bytes gauge\nduration_bytes 1\n",
            "duration_bytes has another unit than it measures",
        ),
    ],
)
def test_violations_of_the_rules_are_found(text: str, problem: str) -> None:
    assert problem in problems(text)


@PROMETHEUS.unless(prometheus_installed())
@pytest.mark.asyncio(loop_scope="session")
async def test_promtool_accepts_the_metrics(client: httpx.AsyncClient) -> None:
    await client.post("/v2/models/diabetes/infer", content=EXAMPLE)
    text = (await client.get("/metrics")).text
    command = ["promtool", "check", "metrics"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, timeout=PATIENCE)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


async def test_swaps_and_rejected_versions_are_counted(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    async with serve(tmp_path) as served:
        (tmp_path / "digits/3").mkdir()
        (tmp_path / "digits/3/model.onnx").write_bytes(b"no graph")
        refused = await served.client.post("/admin/models/digits/swap", json={"version": 3})
        done = await served.client.post("/admin/models/digits/swap", json={"version": 1})
        assert (refused.status_code, done.status_code) == (409, 200)
        families = await page(served.client)
    swaps = {s.labels["cause"]: s.value for s in families["quantserve_swaps"].samples}
    assert swaps == {"start": 1, "swap": 1}
    (failure,) = families["quantserve_rollout_failures"].samples
    assert failure.labels == {"model": "digits", "version": "3", "phase": "rehearsal"}
    assert failure.value == 1
    assert families["quantserve_memory_limit_bytes"].samples[0].value > 2**20


async def test_checks_of_the_folder_are_counted_in_poll_mode(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(1))
    async with serve(tmp_path) as served:
        assert not [name for name in await page(served.client) if "poll" in name]
    async with serve(tmp_path, poll=0.01) as served:
        watching = asyncio.create_task(
            watch(served.server.repository, 0.001, served.server._start._observe)
        )
        shutil.move(tmp_path / "m", tmp_path / ".away")
        failures = 0.0
        while failures < 3:
            await asyncio.sleep(0)
            found = await page(served.client)
            failures = found["quantserve_poll_failures"].samples[0].value
        watching.cancel()
        last = found["quantserve_poll_last_success_timestamp_seconds"].samples[0].value
        assert time() - 60 < last <= time()
        assert found["quantserve_poll_interval_seconds"].samples[0].value == 0.01
        assert problems((await served.client.get("/metrics")).text) == []
