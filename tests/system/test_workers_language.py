"""A language model in two workers behaves as one model to clients and operators."""

import json
import re
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.engine.generation import tiny_llama
from tests.patience import until
from tests.system.test_workers import Workers, serving
from tests.system.wire import Line, get, post

ASKED = {"model": "tiny", "prompt": [5] * 9, "max_tokens": 4, "ignore_eos": True, "temperature": 0}
LINES, TIMES = 8, 4
LABELS = '{model="tiny",version="1"}'


def ask(it: Workers) -> list[str]:
    """Send requests over one connection, which belongs to one worker."""
    with Line(it.port) as line:
        found = [
            line.ask(post("/v1/completions", json.dumps(ASKED).encode())) for _ in range(TIMES)
        ]
    assert {each.status for each in found} == {200}
    return [each.json["choices"][0]["text"] for each in found]


def test_metrics_of_language_models_are_summed_over_workers(tmp_path: Path) -> None:
    models = tmp_path / "models"
    tiny_llama.write(models / "tiny/1")
    with serving(models) as it:
        with ThreadPoolExecutor(LINES) as pool:
            texts = [text for each in pool.map(lambda _: ask(it), range(LINES)) for text in each]
        assert len(set(texts)) == 1
        total = LINES * TIMES
        metric = it.metric
        assert metric(f"quantserve_prompt_tokens_total{LABELS}") == 9 * total
        assert metric(f"quantserve_generation_tokens_total{LABELS}") == 4 * total
        assert metric(f"quantserve_time_to_first_token_seconds_count{LABELS}") == total
        assert metric(f"quantserve_inter_token_latency_seconds_count{LABELS}") == 3 * total
        assert metric(f"quantserve_request_queue_time_seconds_count{LABELS}") == total
        name = 'quantserve_requests_total{model="tiny",outcome="ok",protocol="openai",version="1"}'
        assert metric(name) == total
        bytes_a_token = 2 * tiny_llama.LAYERS * tiny_llama.KV_HEADS * tiny_llama.SIZE * 4
        one = metric(f"quantserve_kv_cache_bytes{LABELS}") / 2
        assert one % (bytes_a_token * tiny_llama.CONTEXT) == 0
        assert metric(f"quantserve_kv_cache_usage_perc{LABELS}") == 0
        (counted,) = it.ask(get("/v2/models/tiny/stats")).json["model_stats"]
        assert counted["inference_count"] == total
        assert counted["inference_stats"]["success"]["count"] == total
        assert counted["inference_stats"]["queue"]["count"] == total


def test_running_requests_are_summed_over_workers(tmp_path: Path) -> None:
    models = tmp_path / "models"
    tiny_llama.write(models / "tiny/1", context=4096)
    (models / "tiny/model.toml").write_text("[generation]\nslots = 1\n")
    body = json.dumps({**ASKED, "max_tokens": 4000, "stream": True}).encode()
    with serving(models) as it:
        lines = [Line(it.port) for _ in range(6)]
        try:
            for line in lines:
                line.socket.sendall(post("/v1/completions", body))
            running = f"quantserve_num_requests_running{LABELS}"
            waiting = f"quantserve_num_requests_waiting{LABELS}"
            until(lambda: it.metric(running) + it.metric(waiting) >= 5, "none is counted")
            assert 1 <= it.metric(running) <= 2
            page = it.ask(get("/metrics")).body.decode()
            used = float(re.findall(r"^quantserve_kv_cache_usage_perc\{.*\} (\S+)$", page, re.M)[0])
            assert 0 < used <= 1
        finally:
            for line in lines:
                line.socket.close()
        until(lambda: it.metric(running) + it.metric(waiting) == 0, "rows are not given back")
