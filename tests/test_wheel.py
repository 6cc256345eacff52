"""The package of `pip install quantserve` works outside the repository.

Builds and installs once, with the declared dependencies, so pip requires a package index.
"""

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.inprocess import ROOT
from tests.patience import PATIENCE, until
from tests.system.wire import Answer, Line, get, post

TOO_LARGE_FOR_THE_LOOP = 32 * 1024
"""Bytes of JSON beyond which a codec process decodes."""


def run(*command: object, cwd: Path) -> str:
    done = subprocess.run(
        list(map(str, command)), cwd=cwd, env=environment(cwd), text=True, timeout=PATIENCE,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout
    return done.stdout


def environment(folder: Path) -> dict[str, str]:
    """Return an environment in which modules of the repository cannot be found."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("PYTHON")}
    return {**kept, "XDG_STATE_HOME": str(folder / "state")}


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an sdist and the wheel that was built from it."""
    folder = tmp_path_factory.mktemp("dist")
    run(sys.executable, "-m", "build", "--outdir", folder, ROOT, cwd=folder)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (file,) = built.glob("*.whl")
    return file


@dataclass(frozen=True, slots=True)
class Installed:
    """A new environment with the wheel, and a working directory."""

    folder: Path

    @property
    def command(self) -> Path:
        return self.folder / "venv/bin/quantserve"

    @property
    def python(self) -> Path:
        return self.folder / "venv/bin/python"

    def quantserve(self, *arguments: object) -> str:
        return run(self.command, *arguments, cwd=self.folder)


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installed:
    folder = tmp_path_factory.mktemp("elsewhere")
    run(sys.executable, "-m", "venv", folder / "venv", cwd=folder)
    each = Installed(folder)
    run(each.python, "-m", "pip", "install", "--quiet", f"{wheel}[quantize]", cwd=folder)
    each.quantserve("examples")
    return each


@dataclass(frozen=True, slots=True)
class Running:
    """The installed server with its supervisor, which is the process."""

    port: int
    process: subprocess.Popen[str]

    def ask(self, request: bytes) -> Answer:
        with Line(self.port) as line:
            return line.ask(request)

    @property
    def children(self) -> list[int]:
        pid = self.process.pid
        return [int(each) for each in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.fixture(scope="module")
def server(installed: Installed) -> Iterator[Running]:
    with (installed.folder / "log").open("w") as log:
        process = subprocess.Popen(
            [installed.command, "serve", "--port", "0"],
            cwd=installed.folder, env=environment(installed.folder), text=True,
            stdout=subprocess.PIPE, stderr=log,
        )  # fmt: skip
    try:
        assert process.stdout is not None
        lines = (
            re.search(r"serving at http://127\.0\.0\.1:(\d+)", each) for each in process.stdout
        )
        found = next(filter(None, lines), None)
        assert found, (installed.folder / "log").read_text()
        yield Running(int(found[1]), process)
    finally:
        process.terminate()
        process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, (installed.folder / "log").read_text()


def example(installed: Installed) -> bytes:
    return (installed.folder / "models/digits/example.json").read_bytes()


def infer(body: bytes) -> bytes:
    return post("/v2/models/digits/infer", body)


def test_only_the_name_quantserve_is_installed(wheel: Path) -> None:
    top = {name.partition("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {re.sub(r"-.*dist-info", "", name) for name in top} == {"quantserve"}


def test_a_wheel_from_the_repository_equals_that_from_the_sdist(
    wheel: Path, tmp_path: Path
) -> None:
    run(sys.executable, "-m", "build", "--wheel", "--outdir", tmp_path, ROOT, cwd=tmp_path)
    (other,) = tmp_path.glob("*.whl")
    first, second = zipfile.ZipFile(wheel), zipfile.ZipFile(other)
    assert first.namelist() == second.namelist()
    assert all(first.read(name) == second.read(name) for name in first.namelist())


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ('CHILD = f"service.commands.{1}"', "line 1 names a module of service in a string"),
        ("import os, service.config", "line 1 still imports service"),
    ],
)
def test_the_build_refuses_module_names_that_it_cannot_rename(
    line: str, problem: str, tmp_path: Path
) -> None:
    for name in ("service", "models", "scripts"):
        shutil.copytree(ROOT / name, tmp_path / name)
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, tmp_path)
    (tmp_path / "service/wrong.py").write_text(f"{line}\n")
    command = [sys.executable, "-m", "build", "--wheel", tmp_path]
    done = subprocess.run(command, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert done.returncode != 0
    assert f"wrong.py: {problem}" in done.stdout + done.stderr


def test_the_sdist_contains_only_the_package(built: Path) -> None:
    (file,) = built.glob("*.tar.gz")
    with tarfile.open(file) as sdist:
        names = {name.partition("/")[2].partition("/")[0] for name in sdist.getnames()} - {""}
    assert names - {"PKG-INFO", "setup.cfg", "quantserve.egg-info"} == {
        "README.md", "LICENSE", "pyproject.toml", "quantserve",
    }  # fmt: skip


def test_package_indexes_accept_the_metadata(built: Path) -> None:
    run(sys.executable, "-m", "twine", "check", "--strict", *built.iterdir(), cwd=built)


def test_the_package_is_typed(wheel: Path) -> None:
    assert "quantserve/py.typed" in zipfile.ZipFile(wheel).namelist()


def test_the_installed_server_serves_a_shipped_model(installed: Installed, server: Running) -> None:
    answer = server.ask(infer(example(installed)))
    assert answer.status == 200 and answer.json["model_version"] == "2"


def test_the_codec_process_decodes_large_bodies(installed: Installed, server: Running) -> None:
    request = json.loads(example(installed))
    (tensor,) = request["inputs"]
    tensor["shape"][0], tensor["data"] = 16, tensor["data"] * 16
    body = json.dumps(request).encode()
    assert len(body) > TOO_LARGE_FOR_THE_LOOP
    assert server.ask(infer(body)).json["outputs"][0]["shape"][0] == 16


@pytest.mark.parametrize("path", ["/docs", "/openapi.json", "/metrics"])
def test_pages_are_served(server: Running, path: str) -> None:
    assert server.ask(get(path)).status == 200


def test_the_files_of_the_documentation_exist(server: Running) -> None:
    page = server.ask(get("/docs")).body.decode()
    files = re.findall(r'(?:src|href)="(?:\./|/)?([^":]+\.(?:js|css|png))"', page)
    assert len(files) >= 2, page
    for file in files:
        assert server.ask(get(f"/{file}")).status == 200, file


def test_commands_find_key_and_server(installed: Installed, server: Running) -> None:
    """The uploaded version is first rehearsed in a separate process."""
    url = f"http://127.0.0.1:{server.port}"
    for version in (1, 2):
        installed.quantserve("swap", "digits", version, "--url", url)
        assert server.ask(infer(example(installed))).json["model_version"] == str(version)


def test_the_supervisor_replaces_a_server(installed: Installed, server: Running) -> None:
    (before,) = server.children
    os.kill(before, signal.SIGSEGV)
    until(lambda: server.children not in ([], [before]), "no other server came")
    url = f"http://127.0.0.1:{server.port}"
    until(lambda: _ready(installed, url), "the other server was not ready")
    assert server.ask(infer(example(installed))).status == 200


def _ready(installed: Installed, url: str) -> bool:
    command = [installed.command, "ready", "--url", url]
    return subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_other_commands_run(installed: Installed) -> None:
    assert "--max-drop" in installed.quantserve("quantize", "--help")
    assert "INT8 QDQ" in installed.quantserve("inspect", "models/digits/2/model.onnx")
    assert "cores" in installed.quantserve("hardware")


def test_quantize_runs(installed: Installed) -> None:
    installed.quantserve("examples", "--fp32")
    installed.quantserve(
        "quantize", "fp32/digits.onnx", "--data", "fp32/digits.npz", "--budget", "5s",
        "--models", "quantized",
    )  # fmt: skip
    assert list((installed.folder / "quantized").rglob("report.html"))
