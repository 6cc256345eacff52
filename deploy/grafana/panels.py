"""The panels of the dashboard, row by row; ``dashboard.py`` converts them to Grafana's JSON.

Every query is run against a real Prometheus by tests/deploy/test_dashboard.py.
"""

# ruff: noqa: E501  (a query is one line, so that it can be copied)

from dataclasses import dataclass, field
from typing import Any

CHOSEN = 'model=~"$model", instance=~"$instance"'
VERSION = "{{model}} {{version}}"
Json = dict[str, Any]


@dataclass(frozen=True)
class Query:
    """A PromQL expression, and the legend of its lines."""

    expr: str
    legend: str
    instant: bool = False
    table: bool = False


@dataclass(frozen=True)
class Panel:
    """One panel. ``unit`` is one of Grafana's units; from the value ``bad`` on, the panel is
    red."""

    title: str
    queries: tuple[Query, ...]
    text: str
    unit: str = "short"
    kind: str = "timeseries"
    width: int = 8
    height: int = 8
    bad: float | None = None
    options: Json = field(default_factory=dict)
    fields: Json = field(default_factory=dict)
    transformations: tuple[Json, ...] = ()


def rate(metric: str, by: str, more: str = "") -> str:
    """Return the sum of the rates of a metric for the selected models and instances."""
    return f"sum by ({by}) (rate({metric}{{{CHOSEN}{more}}}[$__rate_interval]))"


def quantiles(histogram: str, by: str = "model, version", name: str = VERSION) -> tuple[Query, ...]:
    """Return queries for the 50th, 95th and 99th percentile of a histogram."""
    buckets = rate(f"{histogram}_bucket", f"le, {by}")
    levels = {"p50": 0.5, "p95": 0.95, "p99": 0.99}
    return tuple(
        Query(f"histogram_quantile({level}, {buckets})", f"{name} {label}")
        for label, level in levels.items()
    )


def stat(title: str, expr: str, unit: str, text: str, bad: float | None = None) -> Panel:
    """Return a panel with one number and its graph."""
    queries = (Query(expr, title),)
    return Panel(title, queries, text, unit, "stat", width=4, height=4, bad=bad)


ERRORS = ', outcome=~"failed|rejected|expired"'
COUNTED = ', outcome!~"invalid|cancelled"'
BUSY = "rate(quantserve_instance_busy_seconds_total{%s}[$__rate_interval])" % CHOSEN  # noqa: UP031
INSTANCES = f"quantserve_instances{{{CHOSEN}}}"

GLANCE = (
    stat("Requests", rate("quantserve_requests_total", ""), "reqps", "Of all selected models"),
    stat(
        "Errors",
        f"({rate('quantserve_requests_total', '', ERRORS)} or vector(0))"
        f" / ({rate('quantserve_requests_total', '', COUNTED)} > 0)",  # nothing while idle, not NaN
        "percentunit",
        "Share of requests that the servers failed, refused or let wait too long; the objective is 0.1 %",
        bad=0.001,
    ),
    stat(
        "p99",
        f"histogram_quantile(0.99, {rate('quantserve_request_duration_seconds_bucket', 'le')})",
        "s",
        "One request in a hundred takes longer; the objective is 100 ms",
        bad=0.1,
    ),
    stat(
        "Busy",
        f"sum({BUSY}) / sum({INSTANCES})",
        "percentunit",
        "Share of the time in which instances are busy; near 100 % there is no capacity left",
        bad=0.9,
    ),
    stat(
        "Memory",
        'max(instance:quantserve_memory:used_ratio{instance=~"$instance"})',
        "percentunit",
        "Share of the limit of the container or machine, for the server nearest to its limit",
        bad=0.9,
    ),
    stat(
        "Servers ready",
        'sum(quantserve_ready{instance=~"$instance"})',
        "none",
        "Servers on which every loadable model is loaded and warm",
    ),
)

REQUESTS = (
    Panel(
        "Requests by model",
        (Query(rate("quantserve_requests_total", "model, version"), VERSION),),
        "By the version that answered: at a swap one line replaces another",
        "reqps",
    ),
    Panel(
        "How requests end",
        (Query(rate("quantserve_requests_total", "outcome") + " > 0", "{{outcome}}"),),
        "invalid and cancelled are caused by clients; failed, rejected and expired by the server",
        "reqps",
    ),
    Panel(
        "Request duration",
        quantiles("quantserve_request_duration_seconds"),
        "From the first byte of the request to the last byte of the answer. Diamonds link to traces, if there are any",
        "s",
    ),
    Panel(
        "Time in the queue", quantiles("quantserve_queue_duration_seconds"),
        "How long requests wait for their batch", "s",
    ),
    Panel(
        "Time in the graph", quantiles("quantserve_compute_duration_seconds"),
        "How long a batch runs in ONNX Runtime", "s",
    ),
    Panel(
        "Error budget burn",
        (
            Query('model:quantserve_request_errors:ratio_rate5m{model=~"$model"} / 0.001', "{{model}} errors"),
            Query('model:quantserve_request_slow:ratio_rate5m{model=~"$model"} / 0.01', "{{model}} slow"),
        ),
        "Speed at which the month's budget is used; 1 is the speed that the objective allows",
        "none",
    ),
)  # fmt: skip

BATCHES = (
    Panel(
        "Rows in a batch",
        (
            Query(
                f"{rate('quantserve_batch_rows_sum', 'model, version')}"
                f" / {rate('quantserve_batch_rows_count', 'model, version')}",
                f"{VERSION} mean",
            ),
            *quantiles("quantserve_batch_rows")[1:2],
        ),
        "Batches grow automatically while instances are busy",
    ),
    Panel(
        "Padding",
        (
            Query(
                f"{rate('quantserve_batch_padding_ratio_sum', 'model, version')}"
                f" / {rate('quantserve_batch_padding_ratio_count', 'model, version')}",
                VERSION,
            ),
        ),
        "Share of a batch's elements that are padding; if it is high, use other buckets",
        "percentunit",
    ),
    Panel(
        "Rows and runs",
        (
            Query(rate("quantserve_rows_total", "model"), "{{model}} rows"),
            Query(rate("quantserve_executions_total", "model"), "{{model}} runs of the graph"),
        ),
        "Per second; the distance between the two lines is the number of runs that batching saves",
    ),
)

SATURATION = (
    Panel(
        "Queue",
        (
            Query(f"sum by (model, version) (quantserve_queue_requests{{{CHOSEN}}})", f"{VERSION} waiting"),
            Query(f"sum by (model, version) (quantserve_in_flight_requests{{{CHOSEN}}})", f"{VERSION} in flight"),
        ),
        "Requests that wait, and requests that wait or run, at the time of the scrape",
    ),
    Panel(
        "Queue used",
        (Query(f"max by (model, version) (model_version:quantserve_queue:used_ratio{{{CHOSEN}}})", VERSION),),
        "Share of the limit; beyond it requests are refused with 503",
        "percentunit",
        bad=0.8,
    ),
    Panel(
        "Instances busy",
        (
            Query(
                f"sum by (model, version) ({BUSY}) / sum by (model, version) ({INSTANCES})", VERSION
            ),
        ),
        "Share of the time in which instances are busy",
        "percentunit",
        bad=0.9,
    ),
    Panel(
        "CPU",
        (
            Query(
                'rate(process_cpu_seconds_total{job="quantserve", instance=~"$instance"}[$__rate_interval])',
                "{{instance}}",
            ),
        ),
        "Cores that each server uses",
    ),
    Panel(
        "Memory",
        (
            Query('process_resident_memory_bytes{job="quantserve", instance=~"$instance"}', "{{instance}}"),
            Query('min(quantserve_memory_limit_bytes{instance=~"$instance"})', "limit"),
        ),
        "Resident memory of each server",
        "bytes",
    ),
    Panel(
        "Memory of models",
        (Query(f"sum by (model, version) (quantserve_model_memory_bytes{{{CHOSEN}}})", VERSION),),
        "Growth of the process's memory when the version was loaded",
        "bytes",
    ),
)  # fmt: skip

MODELS = (
    Panel(
        "Loaded versions",
        (
            Query(
                f"max by (model, version, precision, scheme, batching) (quantserve_model_info{{{CHOSEN}}})"
                " * on (model, version) group_left"
                f" max by (model, version) (quantserve_model_serving{{{CHOSEN}}})",
                "", instant=True, table=True,
            ),
        ),
        "Precision and batching of each version; 1: serves, 0: kept for a rollback",
        kind="table",
        width=12,
        transformations=(
            {"id": "organize", "options": {
                "excludeByName": {"Time": True}, "renameByName": {"Value": "serving"}}},
        ),
    ),
    Panel(
        "States",
        (
            Query(
                f'max by (model, version) (quantserve_model_serving{{{CHOSEN}}})', VERSION
            ),
        ),
        "Which version serves, over time",
        kind="state-timeline",
        width=12,
        fields={"mappings": [{"type": "value", "options": {
            "0": {"text": "standby", "color": "text"}, "1": {"text": "serves", "color": "green"}}}]},
    ),
    Panel(
        "Swaps",
        (Query('sum by (model, cause) (quantserve_swaps_total{model=~"$model", instance=~"$instance"})', "{{model}}: {{cause}}"),),
        "Number of switches to another version since the start, by cause",
        width=8,
    ),
    Panel(
        "Versions that failed",
        (Query(f"sum by (model, version, phase) (quantserve_rollout_failures_total{{{CHOSEN}}})", "{{model}} {{version}}: {{phase}}"),),
        "By the phase that they failed. The previous version continues to serve",
        width=8,
    ),
    Panel(
        "Batch deviation",
        (Query(f"max by (model, version) (quantserve_model_batch_deviation_ratio{{{CHOSEN}}})", VERSION),),
        "How much a row's answer changes with the other rows of its batch, measured at load",
        "percentunit",
        width=8,
    ),
)  # fmt: skip

ROWS = {
    "At a glance": GLANCE,
    "Requests": REQUESTS,
    "Batches": BATCHES,
    "Saturation": SATURATION,
    "Models": MODELS,
}
