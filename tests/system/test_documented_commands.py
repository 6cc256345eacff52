"""Runs every command in README.md and docs/, or names the test that runs it."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import onnx
import pytest
from onnx import TensorProto, helper

from tests import pictures, tiny_texts
from tests.engine import graphs
from tests.engine.generation import tiny_llama
from tests.parts import CURL, GO, JDK
from tests.patience import PATIENCE
from tests.system.process import KEY, ROOT, Running, running

BLOCK = re.compile(r"^```sh\n(.*?)^```", re.M | re.S)
PYTHON = re.compile(r"^```python\n(.*?)^```", re.M | re.S)
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md")))
ELSEWHERE = {
    "python3 -m venv": ".ci/run, and by hand in a new environment",
    "pip install quantserve": "tests/test_wheel.py",
    ".venv/bin/pip install": ".ci/run, tests/quantization/test_pipeline.py",
    ".venv/bin/python -m pytest": ".ci/run",
    "pip install 'quantserve[llm]'": "tests/system/test_openai.py",
    "pip install 'quantserve[llm-build]'": "tests/quantization/language",
    "pip install 'quantserve[image]'": "tests/system/test_images.py",
    "pip install 'quantserve[grpc]'": "tests/system/test_clients.py",
    "pip install 'quantserve[text]'": "tests/system/test_texts.py",
    "docker compose": "tests/deploy",
    "MODELS=./mine": "tests/deploy",
    "quantserve serve": "every test here",
    'curl -H "$KEY" -F': "tests/system/test_upload_files.py",
}
"""First words of blocks and lines, and what runs them instead."""


def blocks() -> list[tuple[str, str]]:
    found = []
    for page in PAGES:
        for number, text in enumerate(BLOCK.findall(page.read_text())):
            if not text.startswith(tuple(ELSEWHERE)) or "quantserve list" in text:
                found.append((f"{page.name}-{number}", text))
    return found


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Running]:
    """The digits, a table of numbers and texts, a language model with random weights, text models,
    and a photograph with an image model."""
    models = tmp_path / "models"
    shutil.copytree(ROOT / "models/digits", models / "digits")
    graphs.save(customers(), models / "customers")
    tiny_llama.write(models / "smollm2/1")
    pictures.classifier(models, pictures.TOML, "photos")
    (tmp_path / "photo.jpg").write_bytes(pictures.encoded(pictures.picture(), "JPEG"))
    tiny_llama.write(tmp_path / "fp32/smollm2/1")
    tiny_texts.embedder(models / "minilm/1")
    tiny_texts.reranker(models / "reranker")
    tiny_texts.classifier(models / "sentiment/1")
    shutil.copy(ROOT / "models/digits/1/model.onnx", tmp_path)
    with running(models, "--grpc-port", "0", "--shared-memory", "clients-") as found:
        yield found


def customers() -> onnx.ModelProto:
    """Return a model that maps ``age`` FP32 [-1, 1] and ``city`` BYTES [-1, 1] to themselves."""
    ages, cities = (
        [helper.make_tensor_value_info(name, kind, ["n", 1]) for name in names]
        for kind, names in (
            (TensorProto.FLOAT, ("age", "age_too")),
            (TensorProto.STRING, ("city", "city_too")),
        )
    )
    nodes = [helper.make_node("Identity", [n], [f"{n}_too"]) for n in ("age", "city")]
    return graphs.model(nodes, [ages[0], cities[0]], [ages[1], cities[1]])


@CURL.unless(shutil.which("curl"))
@pytest.mark.parametrize(("name", "text"), blocks(), ids=[name for name, _ in blocks()])
def test_documented_shell_commands_work(
    name: str, text: str, server: Running, tmp_path: Path
) -> None:
    key = tmp_path / ".local/state/quantserve/8000.key"
    key.parent.mkdir(parents=True)
    key.write_text(KEY)
    lines = [line for line in text.splitlines() if not line.startswith("quantserve serve")]
    # An answer with an error is a failure, here and not in the documentation.
    script = "\n".join(lines).replace("curl ", "curl --silent --fail-with-body ")
    script = script.replace("127.0.0.1:8000", server.address)
    script = script.replace("quantserve bench", "quantserve bench --duration 0.2")
    environment = {
        **os.environ,
        "HOME": str(tmp_path),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
        "QUANTSERVE_URL": f"http://{server.address}",
        "QUANTSERVE_ADMIN_KEY": KEY,
    }
    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=PATIENCE,
    )  # fmt: skip
    assert done.returncode == 0, f"{script}\n{done.stdout}\n{done.stderr}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documented_python_works(page: Path, server: Running, tmp_path: Path) -> None:
    for text in PYTHON.findall(page.read_text()):
        script = text.replace("127.0.0.1:8000", server.address)
        script = script.replace(
            "127.0.0.1:8001", json.loads(server.printed.splitlines()[-1])["grpc"]
        )
        done = subprocess.run(
            [sys.executable, "-c", script], cwd=tmp_path, timeout=PATIENCE,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )  # fmt: skip
        assert done.returncode == 0, f"{script}\n{done.stdout}"


@pytest.mark.parametrize(
    ("language", "file", "command"),
    [
        pytest.param("java", "Embed.java", ["java"], marks=JDK.unless(shutil.which("javac"))),
        pytest.param("go", "embed.go", ["go", "run"], marks=GO.unless(shutil.which("go"))),
    ],
)
def test_documented_examples_in_other_languages_work(
    language: str, file: str, command: list[str], server: Running, tmp_path: Path
) -> None:
    page = (ROOT / "docs/clients.md").read_text()
    [text] = [
        text
        for text in re.findall(rf"^```{language}\n(.*?)^```", page, re.M | re.S)
        if "main(" in text  # the others are parts of a program
    ]
    (tmp_path / file).write_text(text.replace("127.0.0.1:8000", server.address))
    done = subprocess.run(
        [*command, file], cwd=tmp_path, timeout=PATIENCE, stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT, text=True,
        env={**os.environ, "HOME": str(tmp_path)},  # where Go caches what it has built
    )  # fmt: skip
    assert done.returncode == 0, done.stdout


def test_links_between_pages_have_targets() -> None:
    pages = [ROOT / "README.md", ROOT / "ARCHITECTURE.md", ROOT / "CHANGELOG.md"]
    pages += [*(ROOT / "docs").glob("*.md"), *(ROOT / "deploy").glob("*.md")]
    for page in pages:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name}: {target}"
