"""The dashboard as code: python deploy/grafana/dashboard.py writes dashboards/quantserve.json.

Panels are placed in rows of 24 columns. A panel has its width; the layout is computed. Source:
https://grafana.com/docs/grafana/latest/dashboards/build-dashboards/view-dashboard-json-model/
"""

import json
from collections.abc import Iterator
from itertools import count
from pathlib import Path

from language import LANGUAGE
from panels import ROWS, Json, Panel, Query

FILE = Path(__file__).with_name("dashboards") / "quantserve.json"
SOURCE = {"type": "prometheus", "uid": "${datasource}"}
WIDTH = 24


def dashboard() -> Json:
    """Return the dashboard in Grafana's JSON model."""
    return {
        "uid": "quantserve",
        "title": "quantserve",
        "tags": ["quantserve"],
        "timezone": "browser",
        "schemaVersion": 39,
        "refresh": "10s",
        "time": {"from": "now-15m", "to": "now"},
        "graphTooltip": 1,
        "templating": {"list": [source_variable(), variable("model"), variable("instance")]},
        "annotations": {"list": [swaps()]},
        "panels": list(panels()),
    }


def source_variable() -> Json:
    return {"name": "datasource", "type": "datasource", "query": "prometheus", "hide": 0}


def variable(label: str) -> Json:
    query = f"label_values(quantserve_model_state, {label})"
    return {
        "name": label,
        "label": label,
        "type": "query",
        "datasource": SOURCE,
        "definition": query,
        "query": {"query": query, "refId": label},
        "refresh": 2,
        "multi": True,
        "includeAll": True,
        "allValue": ".*",
        "current": {"text": "All", "value": "$__all"},
    }


def swaps() -> Json:
    """Return the annotation that draws a line when a version begins to serve."""
    serving = 'max by (model, version) (quantserve_model_serving{model=~"$model"})'
    return {
        "name": "Swaps",
        "datasource": SOURCE,
        "enable": True,
        "iconColor": "purple",
        "expr": f"{serving} == 1 unless {serving.replace('}', '} offset 15s')} == 1",
        "step": "5s",
        "titleFormat": "{{model}}",
        "textFormat": "version {{version}} serves",
    }


def panels() -> Iterator[Json]:
    numbers, y = count(1), 0
    for title, row in (ROWS | {"Language models": LANGUAGE}).items():
        place = {"h": 1, "w": WIDTH, "x": 0, "y": y}
        yield {
            "id": next(numbers),
            "type": "row",
            "title": title,
            "collapsed": False,
            "gridPos": place,
        }
        y, x, tallest = y + 1, 0, 0
        for panel in row:
            if x + panel.width > WIDTH:
                y, x, tallest = y + tallest, 0, 0
            place = {"h": panel.height, "w": panel.width, "x": x, "y": y}
            yield {"id": next(numbers), "gridPos": place, **drawn(panel)}
            x, tallest = x + panel.width, max(tallest, panel.height)
        y += tallest


def drawn(panel: Panel) -> Json:
    steps: list[Json] = [{"color": "green", "value": None}]
    if panel.bad is not None:
        steps.append({"color": "red", "value": panel.bad})
    thresholds = {"mode": "absolute", "steps": steps}
    defaults: Json = {"unit": panel.unit, "min": 0, "thresholds": thresholds, **panel.fields}
    options = dict(panel.options)
    if panel.kind == "timeseries":
        defaults["custom"] = {"fillOpacity": 8, "showPoints": "never", "lineWidth": 1}
        options |= {"tooltip": {"mode": "multi"}, "legend": {"displayMode": "list"}}
    if panel.kind == "stat":
        options |= {"graphMode": "area", "reduceOptions": {"calcs": ["lastNotNull"]}}
    return {
        "type": panel.kind,
        "title": panel.title,
        "description": panel.text,
        "datasource": SOURCE,
        "targets": [target(query, chr(65 + i)) for i, query in enumerate(panel.queries)],
        "fieldConfig": {"defaults": defaults, "overrides": []},
        "options": options,
        "transformations": list(panel.transformations),
    }


def target(query: Query, letter: str) -> Json:
    return {
        "refId": letter,
        "datasource": SOURCE,
        "expr": query.expr,
        "legendFormat": query.legend,
        "instant": query.instant,
        "range": not query.instant,
        "format": "table" if query.table else "time_series",
        "exemplar": "duration_seconds_bucket" in query.expr and not query.instant,
    }


def text() -> str:
    """Return the content of the dashboard file."""
    return json.dumps(dashboard(), indent=1) + "\n"


if __name__ == "__main__":
    FILE.parent.mkdir(exist_ok=True)
    FILE.write_text(text())
