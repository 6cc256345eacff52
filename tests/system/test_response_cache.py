"""A model with a response cache: equal requests run once, and a swap empties the cache."""

import json
import re
from pathlib import Path

import pytest

from tests.repositories import golden, put, scale
from tests.system.process import KEY, Running, running
from tests.system.wire import Answer, get, post

CACHED = "[cache]\nmax_bytes = 100000\n"
INFER = "/v2/models/m/infer"


def request(value: float, **more: object) -> bytes:
    x = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [value, 1]}
    return post(INFER, json.dumps({"inputs": [x], **more}).encode())


@pytest.fixture
def models(tmp_path: Path) -> Path:
    root = tmp_path / "models"
    put(root, "m", 1, scale(2))
    golden(root / "m", 2)
    (root / "m/model.toml").write_text(CACHED)
    return root


def lookups(served: Running, result: str, version: int = 1) -> int:
    page = served.ask(get("/metrics")).body.decode()
    labels = f'model="m",result="{result}",version="{version}"'
    name = r"quantserve_cache_lookups_total\{(.*)\} (\S+)"
    return sum(
        int(float(count))
        for found, count in re.findall(name, page)
        if sorted(found.split(",")) == labels.split(",")
    )


def outputs(answer: Answer) -> list[float]:
    assert answer.status == 200, answer.error
    return answer.json["outputs"][0]["data"]


def test_equal_requests_run_once_and_are_counted(models: Path) -> None:
    with running(models) as served:
        first = served.ask(request(3, id="one"))
        again = served.ask(request(3, id="two"))
        other = served.ask(request(4))
        assert outputs(first) == outputs(again) == [6, 2] and outputs(other) == [8, 2]
        assert (first.json["id"], again.json["id"]) == ("one", "two")
        assert (lookups(served, "hit"), lookups(served, "miss")) == (1, 2)
        [stats] = served.ask(get("/v2/models/m/stats")).json["model_stats"]
        assert stats["inference_stats"]["cache_hit"]["count"] == 1
        assert stats["inference_stats"]["cache_miss"]["count"] == 2
        assert stats["inference_count"] == 3 and stats["execution_count"] == 2
        assert served.ask(get("/v2/models/m/config")).json["response_cache"] == {"enable": True}
        assert re.search(r"^quantserve_cache_bytes\{.*\} \d{3,}", _page(served), re.M)


def test_bad_requests_are_refused_and_not_cached(models: Path) -> None:
    with running(models) as served:
        bad = json.dumps(
            {"inputs": [{"name": "x", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]}]}
        ).encode()
        assert [served.ask(post(INFER, bad)).status for _ in range(2)] == [400, 400]
        assert lookups(served, "hit") == lookups(served, "miss") == 0


def test_a_swap_empties_the_cache(models: Path) -> None:
    with running(models, "--no-pin") as served:
        assert outputs(served.ask(request(3))) == outputs(served.ask(request(3))) == [6, 2]
        put(models, "m", 2, scale(2.001))
        swap = post("/admin/models/m/swap", b'{"version": 2}', X_API_Key=KEY)
        assert served.ask(swap).status == 200
        assert outputs(served.ask(request(3))) == pytest.approx([6.003, 2.001])
        assert lookups(served, "miss", 2) == 1


def test_a_model_without_a_cache_has_no_cache_metrics(models: Path) -> None:
    (models / "m/model.toml").unlink()
    with running(models) as served:
        served.ask(request(3))
        assert "quantserve_cache_" not in _page(served)
        assert "response_cache" not in served.ask(get("/v2/models/m/config")).json


def _page(served: Running) -> str:
    return served.ask(get("/metrics")).body.decode()
