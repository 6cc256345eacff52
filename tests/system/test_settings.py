"""Settings that cannot be used end the command with one clear line and exit code 2."""

import os
import socket
import subprocess
import sys
from pathlib import Path

from tests.parts import LINUX
from tests.patience import PATIENCE
from tests.system.process import ROOT, obey_permissions


def refused(*arguments: str, **environment: str) -> str:
    """Return the one line that the command ends with."""
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT,
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        preexec_fn=obey_permissions,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr.startswith("quantserve: ") and done.stderr.count("\n") == 1
    return done.stderr


def test_an_unknown_flag() -> None:
    assert "unrecognized arguments: --prot 1; see" in refused("serve", "--prot", "1")


def test_an_unknown_command() -> None:
    assert "invalid choice: 'sreve'" in refused("sreve")


def test_no_command() -> None:
    assert "required: command" in refused()


def test_an_unknown_variable() -> None:
    assert "unknown setting QUANTSERVE_PROT" in refused("serve", QUANTSERVE_PROT="1")


def test_a_wrong_value() -> None:
    assert "--port: " in refused("serve", "--port", "high")
    assert "QUANTSERVE_PORT: " in refused("serve", QUANTSERVE_PORT="high")


def test_a_missing_folder_or_a_file_in_its_place(tmp_path: Path) -> None:
    file = tmp_path / "file"
    file.touch()
    absent = tmp_path / "absent"
    line = refused("serve", "--port", "0", "--models", str(absent))
    assert f"models folder {absent} is not a readable folder" in line
    line = refused("serve", "--port", "0", "--models", str(file))
    assert f"{file} is a file: use --models" in line


@LINUX.unless(sys.platform == "linux")
def test_an_unreadable_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0)
    try:
        told = refused("serve", "--models", str(tmp_path))
        assert "not a readable folder" in told
        assert f"the server runs as uid {os.geteuid()}" in told and "mode 0000" in told
    finally:
        tmp_path.chmod(0o700)


def test_a_port_in_use() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        line = refused("serve", "--port", str(port))
    assert f"cannot listen on 127.0.0.1:{port}: Address already in use" in line


def test_an_address_of_another_machine() -> None:
    assert "cannot listen on 192.0.2.1:0: " in refused(
        "serve", "--host", "192.0.2.1", "--port", "0"
    )
