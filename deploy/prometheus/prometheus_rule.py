"""Write the rules as a PrometheusRule, for clusters with the Prometheus Operator:

    python deploy/prometheus/prometheus_rule.py

The rules of this folder stay the only ones that are edited; a test compares.
"""

from pathlib import Path
from typing import Any

import yaml

HERE = Path(__file__).parent
TARGET = HERE.parent / "kubernetes/components/monitoring/prometheusrule.yaml"
HEAD = "# Made of deploy/prometheus/rules by deploy/prometheus/prometheus_rule.py; edit those.\n"


def prometheus_rule() -> dict[str, Any]:
    """All groups of the rules, recording rules first: alerts ask for what they record."""
    groups: list[dict[str, Any]] = []
    for name in ("recording", "alerts"):
        for group in yaml.safe_load((HERE / f"rules/{name}.yml").read_text("utf-8"))["groups"]:
            groups.append({**group, "name": f"{group['name']}.{name}"})
    return {
        "apiVersion": "monitoring.coreos.com/v1",
        "kind": "PrometheusRule",
        "metadata": {"name": "quantserve", "labels": {"app.kubernetes.io/name": "quantserve"}},
        "spec": {"groups": groups},
    }


class _Dumper(yaml.SafeDumper):
    """Expressions as they are written in the rules: line by line."""


def _text(dumper: yaml.SafeDumper, value: str) -> yaml.ScalarNode:
    style = "|" if "\n" in value else None
    return dumper.represent_scalar("tag:yaml.org,2002:str", value, style)


_Dumper.add_representer(str, _text)


def text() -> str:
    """The file as it must be."""
    return HEAD + yaml.dump(prometheus_rule(), Dumper=_Dumper, sort_keys=False, width=200)


if __name__ == "__main__":
    TARGET.write_text(text(), "utf-8")
