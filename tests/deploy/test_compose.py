"""Tests of the image and the stack that need no container engine. python -m tests.deploy runs the
others.
"""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from service.config.settings import PREFIX, Settings
from tests.deploy.prometheus import DEPLOY
from tests.parts import COMPOSE, HAPROXY
from tests.patience import PATIENCE
from tests.system.process import ROOT

STACK: dict[str, Any] = yaml.safe_load((ROOT / "docker-compose.yml").read_text())
SERVERS = [STACK["services"][name] for name in ("quantserve", "replica")]


def compose_command() -> list[str] | None:
    """Return the command of Compose, as a plugin or standalone, if it is installed."""
    for command in (["docker", "compose"], ["docker-compose"]):
        if shutil.which(command[0]):
            done = subprocess.run([*command, "version"], capture_output=True, check=False)
            if not done.returncode:
                return command
    return None


@pytest.mark.parametrize(
    "files", [["docker-compose.yml"], ["docker-compose.yml", "deploy/compose.secret.yml"]]
)
def test_compose_accepts_the_files(files: list[str]) -> None:
    command = compose_command()
    COMPOSE.need(command)
    assert command is not None
    flags = [part for file in files for part in ("-f", file)]
    done = subprocess.run(
        [*command, *flags, "--profile", "scale", "config", "--quiet"],
        cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_every_port_is_bound_to_loopback() -> None:
    ports = [port for service in STACK["services"].values() for port in service.get("ports", ())]
    assert ports and all(port.startswith("127.0.0.1:") for port in ports)


def test_every_service_has_limits() -> None:
    assert all(each["cpus"] and each["mem_limit"] for each in STACK["services"].values())


def test_servers_are_restricted_and_have_no_default_key() -> None:
    for server in SERVERS:
        assert server["read_only"] and server["cap_drop"] == ["ALL"]
        assert server["environment"]["QUANTSERVE_ADMIN_KEY"] == "${QUANTSERVE_ADMIN_KEY:-}"


def test_models_may_be_a_folder_and_the_user_its_owner() -> None:
    user = re.findall(r"^USER (.+)$", (ROOT / "Dockerfile").read_text(), re.M)
    for server in SERVERS:
        assert server["volumes"] == ["${MODELS:-models}:/models"]
        assert server["user"] == f"${{SERVER_USER:-{user[-1]}}}"


def test_variables_of_servers_are_settings() -> None:
    names = [name for server in SERVERS for name in server["environment"]]
    image = re.findall(r"\bQUANTSERVE_\w+(?==)", (ROOT / "Dockerfile").read_text())
    assert image and names
    assert {name.removeprefix(PREFIX).lower() for name in [*names, *image]} <= set(
        Settings.model_fields
    )


def test_mounted_files_exist() -> None:
    mounts = [v for service in STACK["services"].values() for v in service.get("volumes", ())]
    paths = [mount.split(":")[0] for mount in mounts if mount.startswith("./")]
    assert paths and all((ROOT / path).exists() for path in paths)


def test_hadolint_accepts_the_dockerfile() -> None:
    command = Path(sys.executable).with_name("hadolint")
    done = subprocess.run(
        [command, ROOT / "Dockerfile"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout


def test_the_dockerignore_keeps_only_the_copied_files() -> None:
    ignored = (ROOT / ".dockerignore").read_text().split("\n")
    assert ignored[1] == "*"
    copied = re.findall(
        r"^COPY (?!--from)(?:--\S+ )*(.+) \S+$", (ROOT / "Dockerfile").read_text(), re.M
    )
    for path in {path for line in copied for path in line.split()}:
        assert any(path.startswith(kept[1:]) for kept in ignored if kept.startswith("!")), path
        assert (ROOT / path).exists()


def test_the_balancer_accepts_its_configuration(tmp_path: Path) -> None:
    command = shutil.which("haproxy")
    HAPROXY.need(command)
    assert command is not None
    done = subprocess.run(
        [command, "-c", "-f", DEPLOY / "haproxy/haproxy.cfg"],
        capture_output=True, text=True, timeout=PATIENCE, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr


def test_the_upgrade_script_names_existing_services() -> None:
    script = DEPLOY / "upgrade.sh"
    assert os.access(script, os.X_OK)
    done = subprocess.run(["bash", "-n", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    named = set(re.findall(r"compose ps --all --quiet (\w+)\)", script.read_text()))
    assert named == {name for name, each in STACK["services"].items() if each in SERVERS}
