"""The dashboard's row of language models."""

# ruff: noqa: E501  (a query is one line, so that it can be copied)

from panels import CHOSEN, VERSION, Panel, Query, quantiles, rate

LANGUAGE = (
    Panel(
        "Time to first token",
        quantiles("quantserve_time_to_first_token_seconds"),
        "From a request to its first token: the wait for a row, and the prompt",
        "s",
    ),
    Panel(
        "Time between tokens",
        quantiles("quantserve_inter_token_latency_seconds"),
        "Of all answers; a chunk of somebody else's prompt is in between at times",
        "s",
    ),
    Panel(
        "Tokens per second",
        (
            Query(rate("quantserve_generation_tokens_total", "model, version"), f"{VERSION} written"),
            Query(rate("quantserve_prompt_tokens_total", "model, version"), f"{VERSION} read"),
        ),
        "Written by the models, and read of prompts",
    ),
    Panel(
        "Running and waiting",
        (
            Query(f"sum by (model, version) (quantserve_num_requests_running{{{CHOSEN}}})", f"{VERSION} running"),
            Query(f"sum by (model, version) (quantserve_num_requests_waiting{{{CHOSEN}}})", f"{VERSION} waiting"),
        ),
        "Requests that have a row of the cache, and those that wait for one",
    ),
    Panel(
        "Wait for a row",
        quantiles("quantserve_request_queue_time_seconds"),
        "Until the prompt is read",
        "s",
    ),
    Panel(
        "Cache in use",
        (Query(f"max by (model, version) (quantserve_kv_cache_usage_perc{{{CHOSEN}}})", VERSION),),
        "Share of the rows' context that holds tokens",
        "percentunit",
        bad=0.95,
    ),
)  # fmt: skip
