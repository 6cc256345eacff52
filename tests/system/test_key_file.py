"""A server without a key creates one for its user: commands find it, other users cannot read it."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from tests.repositories import put, scale
from tests.system.process import ROOT, Running, running
from tests.system.wire import post


def command(*arguments: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT, text=True, capture_output=True, timeout=60, env=dict(os.environ),
    )  # fmt: skip


def told(server: Running) -> dict[str, Any]:
    """Return the last line that the server prints at its start."""
    line: dict[str, Any] = json.loads(server.printed.splitlines()[-1])
    return line


def test_commands_use_the_key_that_the_server_created(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models, state = tmp_path / "models", tmp_path / "state"
    put(models, "m", 1, scale(1))
    put(models, "m", 2, scale(2))
    monkeypatch.setenv("XDG_STATE_HOME", str(state))
    monkeypatch.setenv("QUANTSERVE_ADMIN_KEY", "")
    with running(models) as server:
        file = state / "quantserve" / f"{server.port}.key"
        assert told(server)["changes"] == f"changes need the admin key in {file}"
        assert told(server)["admin_key_file"] == str(file)
        swap = ("swap", "m", "1", "--url", f"http://{server.address}")
        done = command(*swap)
        assert done.returncode == 0, done.stderr
        by_hand = post("/admin/models/m/rollback", b"", X_API_Key=file.read_text().strip())
        assert server.ask(by_hand).status == 200
        for header in ("Via", "X-Forwarded-Host", "CF-Connecting-IP", "X-Nothing"):
            assert server.ask(post("/admin/models/m/swap", b"{}", **{header: "x"})).status == 401
        file.unlink()
        assert "(401)" in command(*swap).stderr
    with running(models) as server:
        file = state / "quantserve" / f"{server.port}.key"
        assert file.exists()
    assert not file.exists()


def test_changes_are_refused_if_no_key_can_be_stored(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    models = tmp_path / "models"
    put(models, "m", 1, scale(1))
    monkeypatch.setenv("XDG_STATE_HOME", "/dev/null")
    monkeypatch.setenv("QUANTSERVE_ADMIN_KEY", "")
    with running(models) as server:
        assert told(server)["changes"].startswith("changes are closed: /dev/null/quantserve/")
        assert "admin_key_file" not in told(server)
        answer = server.ask(post("/admin/models/m/rollback", b""))
        assert answer.status == 403 and "QUANTSERVE_ADMIN_KEY" in answer.error
