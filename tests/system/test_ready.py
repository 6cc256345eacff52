"""``quantserve ready``, as health checks run it, and a signal during the start."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from service.cli import main
from service.commands.ready import default_url
from tests.patience import PATIENCE
from tests.system.process import ROOT


def test_a_server_that_serves_is_ready(server: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["ready", "--url", f"http://{server}"]) == 0
    assert capsys.readouterr().out == "ready\n"


def test_a_server_without_an_answer_is_not_ready(capsys: pytest.CaptureFixture[str]) -> None:
    # No process listens on port 1. Docker keeps exit code 2 for itself.
    assert main(["ready", "--url", "http://127.0.0.1:1"]) == 1
    assert "not ready: no answer from http://127.0.0.1:1" in capsys.readouterr().err


def test_the_default_url_follows_the_environment() -> None:
    assert default_url({}) == "http://127.0.0.1:8000"
    assert default_url({"QUANTSERVE_PORT": "81"}) == "http://127.0.0.1:81"
    assert default_url({"QUANTSERVE_PORT": "81", "QUANTSERVE_URL": "http://x"}) == "http://x"


def test_the_command_imports_no_heavy_packages() -> None:
    heavy = "{'numpy', 'pydantic', 'fastapi'}"
    code = f"import sys, service.commands.ready; print({heavy} & {{*sys.modules}})"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr


def test_a_signal_during_the_start_stops_it_cleanly(tmp_path: Path) -> None:
    # uvicorn waits in its import until the signal has come.
    (tmp_path / "uvicorn.py").write_text(
        "import signal, sys; print('importing', flush=True); signal.pause(); sys.exit('too late')"
    )
    process = subprocess.Popen(
        [sys.executable, "-m", "service", "serve", "--port", "0"],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(tmp_path)},
        stdout=subprocess.PIPE,
        text=True,
    )
    assert process.stdout is not None
    with process.stdout as lines:
        assert lines.readline() == "importing\n"
        process.send_signal(signal.SIGTERM)
        assert process.wait(PATIENCE) == 0
