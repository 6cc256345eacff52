"""The server prints text for people at its start, or lines of JSON if its log is in JSON."""

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.repositories import put, scale
from tests.system.process import PATIENCE, ROOT

COMMAND = [sys.executable, "-m", "service", "serve", "--no-supervisor", "--port", "0"]
SERVING = re.compile(r"serving at http://\S+")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    put(tmp_path, "good", 1, scale(1))
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad/model.toml").write_text("[batch]")
    (tmp_path / "weights.pt").touch()
    return tmp_path


def merged(models: Path, *flags: str) -> list[str]:
    """Return the lines of stdout and stderr, merged as in a container's log, until it stops."""
    environment = {**os.environ, "QUANTSERVE_ADMIN_KEY": ""}
    environment["XDG_STATE_HOME"] = str(models.parent / "state")
    process = subprocess.Popen(
        [*COMMAND, "--models", str(models), *flags],
        cwd=ROOT, env=environment, text=True, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
    )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = []
        while line := process.stdout.readline():
            lines.append(line)
            if SERVING.search(line):
                process.terminate()
        assert process.wait(PATIENCE) == 0
        return lines
    finally:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("flags", [(), ("--log-format", "json")], ids=["auto", "json"])
def test_with_a_json_log_every_line_is_json(models: Path, flags: tuple[str, ...]) -> None:
    lines = [json.loads(line) for line in merged(models, *flags)]
    assert all({"time", "level", "logger", "message"} <= line.keys() for line in lines)
    (good,) = (line for line in lines if line.get("batching"))
    assert (good["model"], good["version"], good["state"]) == ("good", 1, "READY")
    assert good["tensors"] == "x FP32 [-1, 2] -> y FP32 [-1, 2]"
    (bad,) = (line for line in lines if line.get("model") == "bad")
    assert bad["notes"] == ["model.toml: batch is not a setting"] and bad["level"] == "warning"
    assert any(line["message"].startswith("not served: weights.pt: PyTorch") for line in lines)
    (serving,) = (line for line in lines if SERVING.search(line["message"]))
    assert serving["metrics"] == f"{serving['url']}/metrics" and serving["ready"] is True
    port = serving["url"].rpartition(":")[2]
    assert serving["admin_key_file"].endswith(f"/state/quantserve/{port}.key")


def test_a_text_log_contains_the_table(models: Path) -> None:
    lines = merged(models, "--log-format", "text")
    assert any(line.split()[:2] == ["MODEL", "VERSION"] for line in lines)
    assert not any(line.startswith("{") for line in lines)


@pytest.mark.parametrize("log_format", ["auto", "json"])
def test_a_terminal_shows_the_table_unless_json_was_requested(
    models: Path, log_format: str
) -> None:
    ours, theirs = pty.openpty()
    with (models / "log").open("w") as log:
        process = subprocess.Popen(
            [*COMMAND, "--models", str(models), "--log-format", log_format],
            cwd=ROOT, stdout=theirs, stderr=log,
        )  # fmt: skip
    try:
        os.close(theirs)
        with os.fdopen(ours, errors="replace", newline="") as terminal:
            first = terminal.readline()
        assert first.startswith("{" if log_format == "json" else "MODEL")
    finally:
        process.terminate()
        process.wait(PATIENCE)
