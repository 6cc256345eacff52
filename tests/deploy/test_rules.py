"""Alerts fire exactly when expected, and Prometheus accepts its configuration."""

import shutil
import subprocess
import sys
from pathlib import Path

import yaml

from tests.deploy.prometheus import DEPLOY
from tests.parts import PROMETHEUS, prometheus_installed
from tests.patience import PATIENCE

pytestmark = PROMETHEUS.unless(prometheus_installed())
FOLDER = DEPLOY / "prometheus"


def promtool(*arguments: object) -> None:
    command = ["promtool", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def test_the_configuration_and_the_rules_are_well_formed() -> None:
    promtool("check", "config", FOLDER / "prometheus.yml")


def test_alerts_fire_exactly_when_expected() -> None:
    promtool("test", "rules", FOLDER / "tests/alerts.yml")


def test_each_alert_has_a_test_in_which_it_fires() -> None:
    groups = yaml.safe_load((FOLDER / "rules/alerts.yml").read_text())["groups"]
    alerts = {rule["alert"] for group in groups for rule in group["rules"]}
    tests = yaml.safe_load((FOLDER / "tests/alerts.yml").read_text())["tests"]
    checks = [check for test in tests for check in test["alert_rule_test"]]
    assert alerts == {check["alertname"] for check in checks if check["exp_alerts"]}


def test_recordings_of_one_name_differ_only_in_their_window() -> None:
    groups = yaml.safe_load((FOLDER / "rules/recording.yml").read_text())["groups"]
    shapes: dict[str, set[str]] = {}
    for rule in (rule for group in groups for rule in group["rules"]):
        name, _, window = rule["record"].rpartition("_rate")
        if not name:
            continue
        shapes.setdefault(name, set()).add(rule["expr"].replace(f"[{window}]", "[WINDOW]"))
    several = [name for name, found in shapes.items() if len(found) > 1]
    assert not several


def test_the_prometheus_rule_of_kubernetes_is_generated_from_the_rules(tmp_path: Path) -> None:
    """The generator runs in a copy of deploy/, so that no file changes here."""
    made = DEPLOY / "kubernetes/components/monitoring/prometheusrule.yaml"
    copy = shutil.copytree(DEPLOY, tmp_path / "deploy")
    subprocess.run([sys.executable, copy / "prometheus/prometheus_rule.py"], check=True)
    new = (copy / made.relative_to(DEPLOY)).read_text()
    assert made.read_text() == new, "run: python deploy/prometheus/prometheus_rule.py"


def test_prometheus_accepts_the_prometheus_rule(tmp_path: Path) -> None:
    made = DEPLOY / "kubernetes/components/monitoring/prometheusrule.yaml"
    rules = tmp_path / "rules.yml"
    rules.write_text(yaml.safe_dump(yaml.safe_load(made.read_text())["spec"]))
    promtool("check", "rules", rules)
