"""The table shows the served models, and fits the width of the terminal."""

import asyncio
import shutil
from pathlib import Path

import pytest

from service.commands.table import runs, table
from service.core.batching import BatchingMode
from service.engine.loading.plan import Plan
from service.engine.repository.context import Context
from service.engine.repository.repository import ModelRepository
from tests.engine import graphs, quantizers
from tests.repositories import put, scale

SHIPPED = Path(__file__).parents[2] / "models"
URL = "http://127.0.0.1:8000"


def printed(folder: Path) -> list[str]:
    """Return the lines of the table without a terminal."""
    return at_widths(folder, None)[0]


def at_widths(folder: Path, *widths: int | None) -> list[list[str]]:
    async def scenario() -> list[str]:
        repository = ModelRepository(folder, Context(2, lambda _: None))
        await repository.load_all()
        texts = [table(repository, URL, width) for width in widths]
        await repository.stop()
        return texts

    return [text.splitlines() for text in asyncio.run(scenario())]


@pytest.fixture
def models(tmp_path: Path) -> Path:
    folder = tmp_path / "models"
    shutil.copytree(SHIPPED / "digits", folder / "digits")
    dynamic = quantizers.dynamic(graphs.linear(), tmp_path)
    graphs.save(dynamic, folder / "a-model-with-quite-a-long-name")
    graphs.save(graphs.linear(), folder / "broken")
    (folder / "broken" / "model.toml").write_text("[batch]")
    (folder / "empty" / "1").mkdir(parents=True)
    return folder


def test_the_table_shows_models_and_how_they_run(models: Path) -> None:
    lines = printed(models)
    heads, facts = lines[0], next(line for line in lines if line.startswith("digits"))
    assert heads.split() == ["MODEL", "VERSION", "STATE", "PRECISION", "SIZE", "KERNELS", "RUNS"]
    # Its weights have seven bits: no machine needs the exact kernels.
    assert facts.split()[:8] == ["digits", "2", "READY", "INT8", "QDQ", "255", "kB", "default"]
    assert facts.index("INT8 QDQ") == heads.index("PRECISION")
    # How large the batches are is measured: on a busy machine it may be one.
    at = heads.index("RUNS")
    assert facts[at - 1] == " " and facts[at] != " "
    assert "    image FP32 [-1, 1, 28, 28] -> probabilities FP32 [-1, 10]" in lines
    assert f"serving at {URL}, docs at {URL}/docs" in lines and f"metrics at {URL}/metrics" in lines


@pytest.mark.parametrize(
    ("plan", "text"),
    [
        (Plan(BatchingMode.COMBINE, 8, 1, 1, True, ""), "combine, up to 8 rows"),
        (Plan(BatchingMode.COMBINE, 1, 2, 1, False, ""), "combine, up to 1 row, 2 at once"),
        (Plan(BatchingMode.ROWS, 1, 2, 1, False, ""), "rows, one a run, 2 at once"),
        (Plan(BatchingMode.REQUESTS, 1, 1, 2, False, ""), "requests, one a run, 2 threads"),
    ],
)
def test_the_table_uses_the_terms_of_the_metadata(plan: Plan, text: str) -> None:
    assert runs(plan) == text and text.startswith(plan.mode.value)


def test_problems_are_marked(models: Path) -> None:
    lines = printed(models)
    marked = [line for line in lines if line.startswith("  ! ")]
    assert len(marked) == 4
    assert marked[0].endswith("(one scale for the whole batch): run row by row")
    assert "quantserve quantize --from-int8 " in marked[1]
    assert marked[2] == "  ! model.toml: batch is not a setting"
    assert marked[3] == "  ! version 1: load: there is no model.onnx in the folder of the version"
    assert lines[lines.index(marked[2]) - 1].split() == ["broken", "-", "UNAVAILABLE"]


def test_no_line_is_wider_than_the_terminal(models: Path) -> None:
    widths = (60, 80, 200)
    whole, *broken = at_widths(models, None, *widths)
    for width, lines in zip(widths, broken, strict=True):
        assert max(map(len, lines)) <= max(width, len(f"serving at {URL}, docs at {URL}/docs"))
        assert " ".join(lines).split() == " ".join(whole).split()
        assert all(line.count("[") == line.count("]") for line in lines)  # shapes stay whole


def test_an_empty_folder_shows_the_expected_layout(tmp_path: Path) -> None:
    assert printed(tmp_path)[0].startswith("there is no model: expected ")
    assert printed(tmp_path)[0].endswith("<name>/<version>/model.onnx")


def test_unserved_entries_follow_the_models_grouped_by_reason(
    tmp_path: Path,
) -> None:
    (tmp_path / "my model").mkdir()
    for number in range(12):
        (tmp_path / f"{number:02}.pt").touch()
    lines = printed(tmp_path)
    start = lines.index("NOT SERVED")
    names = ", ".join(f"{number:02}.pt" for number in range(10))
    reason = "PyTorch is not served, only ONNX is: export it to model.onnx"
    assert lines[start + 1] == f"  ! {names} and 2 more: {reason}"
    assert lines[start + 2].startswith("  ! my model: it cannot be the name of a model")
    assert lines[start + 4].startswith("not ready: nothing to serve")


def test_a_broken_version_beside_a_serving_one_is_marked(tmp_path: Path) -> None:
    put(tmp_path, "m", 2, scale(2))
    for number in (1, 3):
        (tmp_path / "m" / str(number)).mkdir()
    why = "there is no model.onnx in the folder of the version"
    marked = [line for line in printed(tmp_path) if line.startswith("  ! ")]
    assert marked == [f"  ! version 1: {why}", f"  ! version 3: load: {why}"]
