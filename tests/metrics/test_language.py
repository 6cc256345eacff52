"""Metrics of a language model that is served."""

from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families as parse_text

from tests.engine.generation import tiny_llama
from tests.inprocess import serve
from tests.metrics.test_page import problems

TOKEN_BYTES = 2 * tiny_llama.LAYERS * tiny_llama.KV_HEADS * tiny_llama.SIZE * 4


async def test_tokens_and_times_are_counted(tmp_path: Path) -> None:
    tiny_llama.write(tmp_path / "tiny/1")
    async with serve(tmp_path) as served:
        before = (await served.client.get("/metrics")).text
        body = {"model": "tiny", "prompt": [5] * 9, "max_tokens": 4, "n": 2, "ignore_eos": True}
        reply = await served.client.post("/v1/completions", json=body)
        assert reply.status_code == 200, reply.text
        assert reply.json()["usage"]["prompt_tokens_details"] == {"cached_tokens": 0}
        refused = await served.client.post("/v1/completions", json=body | {"max_tokens": 0})
        assert refused.status_code == 400
        page = (await served.client.get("/metrics")).text
    assert problems(page) == []
    samples = {
        (each.name, each.labels.get("le", ""), each.labels.get("outcome", "")): each.value
        for family in parse_text(page)
        for each in family.samples
        if each.labels.get("model") == "tiny" and each.labels.get("protocol") != "generate"
    }
    assert samples["quantserve_prompt_tokens_total", "", ""] == 18
    assert samples["quantserve_cached_prompt_tokens_total", "", ""] == 0
    assert samples["quantserve_generation_tokens_total", "", ""] == 8
    assert samples["quantserve_time_to_first_token_seconds_count", "", ""] == 2
    assert samples["quantserve_inter_token_latency_seconds_bucket", "+Inf", ""] == 6
    assert samples["quantserve_request_queue_time_seconds_count", "", ""] == 2
    assert samples["quantserve_requests_total", "", "ok"] == 1
    for name in ("num_requests_running", "num_requests_waiting", "kv_cache_usage_perc"):
        assert samples[f"quantserve_{name}", "", ""] == 0
    held = samples["quantserve_kv_cache_held_bytes", "", ""]
    # The two answers may have had one row after the other.
    assert 12 * TOKEN_BYTES <= held < samples["quantserve_kv_cache_bytes", "", ""]
    assert 'quantserve_generation_tokens_total{model="tiny",version="1"} 0.0' in before
