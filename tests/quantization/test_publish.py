"""The golden rows of a first version are requests that its model accepts."""

from pathlib import Path

import numpy as np
import pytest

from service.core.errors import ConfigError
from service.core.tensors import DATATYPES, Signature, TensorSpec
from service.engine.storage.golden import read_golden
from service.quantization.data.rows import Rows
from service.quantization.publish import check_home, publish, write_golden
from tests.disks import small_disk
from tests.engine.onnx_file.test_snapshot import save_apart, table
from tests.repositories import scale

ROWS = Rows(tuple((np.full((1, 2), i, np.float32),) for i in range(40)), np.arange(40))


@pytest.fixture
def home(tmp_path: Path) -> Path:
    (tmp_path / ".quantize").mkdir()
    return tmp_path


def signature(first: str | int) -> Signature:
    taken, given = (TensorSpec(n, DATATYPES["FP32"], (first, 2)) for n in ("x", "y"))
    return Signature((taken,), (given,))


@pytest.mark.parametrize(("first", "count"), [("n", 32), (1, 1)])
def test_golden_rows_are_as_many_as_the_model_accepts(
    home: Path, first: str | int, count: int
) -> None:
    assert write_golden(home, signature(first), ROWS, ROWS.feeds)
    golden = read_golden(home / "golden.npz", signature(first))
    assert golden is not None
    assert len(golden.inputs[0]) == len(golden.outputs["y"]) == len(golden.labels[""]) == count


def test_an_output_without_one_row_per_input_row_is_left_out(home: Path) -> None:
    boxes = [(np.ones((i % 3, 2), np.float32),) for i in range(40)]
    write_golden(home, signature("n"), ROWS, boxes)
    golden = read_golden(home / "golden.npz", signature("n"))
    assert golden is not None
    assert golden.outputs == {}


def spec(name: str, *shape: str | int) -> TensorSpec:
    return TensorSpec(name, DATATYPES["FP32"], shape)


def runs(*shapes: tuple[int, ...]) -> Rows:
    feeds = [tuple(np.full(shape, i, np.float32) for shape in shapes) for i in range(20)]
    return Rows(tuple(feeds), np.arange(20), by_run=True)


def test_a_run_is_written_unchanged(home: Path) -> None:
    inputs = spec("x", "n", 3), spec("state", 2, "n", 4), spec("gain")
    stateful = Signature(inputs, (spec("y", "n", 2), spec("next", 2, "n", 4), spec("total")))
    rows = runs((5, 3), (2, 5, 4), ())
    answers = [(np.ones((5, 2), np.float32), rows.feeds[i][1], rows.feeds[i][2]) for i in range(20)]
    assert write_golden(home, stateful, rows, answers)
    golden = read_golden(home / "golden.npz", stateful)
    assert golden is not None
    assert [array.shape for array in golden.inputs] == [(5, 3), (2, 5, 4), ()]
    assert {n: a.shape for n, a in golden.outputs.items()} == {
        "y": (5, 2), "next": (2, 5, 4), "total": (),
    }  # fmt: skip
    assert golden.labels[""].tolist() == [0]


def test_no_answers_are_kept_of_runs_that_are_served_as_rows(home: Path) -> None:
    steps = Signature((spec("x", "steps", "batch", 3),), (spec("y", "steps", "batch", 2),))
    rows = runs((7, 1, 3))
    assert write_golden(home, steps, rows, [(np.ones((7, 1, 2), np.float32),)] * 20)
    golden = read_golden(home / "golden.npz", steps)
    assert golden is not None
    assert golden.inputs[0].shape == (7, 1, 3)
    assert golden.outputs == {}


def test_a_version_beside_a_flat_model_has_the_next_number(tmp_path: Path) -> None:
    home = tmp_path / "m"
    home.mkdir()
    (home / "model.onnx").write_bytes(scale(1))
    (home / "²").mkdir()
    made = tmp_path / "made.onnx"
    made.write_bytes(scale(2))
    given = (
        TensorSpec("x", DATATYPES["FP32"], ("n", 2)),
        TensorSpec("y", DATATYPES["FP32"], ("n", 2)),
    )
    check_home(home, Signature(given[:1], given[1:]))
    assert publish(home, made, {}, "") == 2
    assert (home / "2/model.onnx").read_bytes() == scale(2)
    with pytest.raises(ConfigError, match="another model: requests to its version 2 would fail"):
        check_home(home, Signature((), ()))


def test_a_model_in_the_root_gets_no_version(tmp_path: Path) -> None:
    root = tmp_path / "own"
    root.mkdir()
    (root / "model.onnx").write_bytes(scale(1))
    with pytest.raises(ConfigError, match="choose another name with --name"):
        check_home(root / "own", Signature((), ()))
    assert not (root / "own").exists()


def test_odd_names_among_the_versions_are_ignored(tmp_path: Path) -> None:
    home = tmp_path / "m"
    for name in ("²", "9" * 20, "v7", "٣", "2", ".5", "caf\udce9"):
        (home / name).mkdir(parents=True)
    model = tmp_path / "made.onnx"
    model.write_bytes(scale(1))
    check_home(home, signature("n"))
    assert publish(home, model, {}, "") == 3


def test_there_is_no_version_after_the_highest_possible_one(tmp_path: Path) -> None:
    (tmp_path / "m" / ("9" * 18)).mkdir(parents=True)
    with pytest.raises(ConfigError, match="is the highest possible number"):
        check_home(tmp_path / "m", signature("n"))
    model = tmp_path / "made.onnx"
    model.write_bytes(scale(1))
    with pytest.raises(ConfigError, match="is the highest possible number"):
        publish(tmp_path / "m", model, {}, "")


def test_a_version_is_published_atomically(tmp_path: Path) -> None:
    (tmp_path / "made").mkdir()
    model = tmp_path / "made/made.onnx"
    save_apart(table(5_000, 0), tmp_path / "given")
    for file in (tmp_path / "given/1").iterdir():
        file.rename(tmp_path / "made" / file.name.replace("model", "made"))
    (tmp_path / "disk").mkdir()
    with small_disk(tmp_path / "disk", "64k") as disk:
        home = disk / "m"
        (home / ".quantize").mkdir(parents=True)
        with pytest.raises(ConfigError, match=r"m: the version cannot be written: .*No space left"):
            publish(home, model, {}, "")
        assert [entry.name for entry in home.iterdir()] == [".quantize"]
    home = tmp_path / "m"
    home.mkdir()
    assert publish(home, model, {"it": 1}, "<p>") == 1
    assert {file.name for file in (home / "1").iterdir()} == {
        "model.onnx", "weights.bin", "report.json", "report.html",
    }  # fmt: skip
    assert [entry.name for entry in home.iterdir()] == ["1"]


def test_a_folder_that_links_elsewhere_gets_no_version(tmp_path: Path) -> None:
    (tmp_path / "models").mkdir()
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "models/m").symlink_to(tmp_path / "elsewhere")
    model = tmp_path / "made.onnx"
    model.write_bytes(scale(1))
    with pytest.raises(ConfigError, match='the folder of model "m" is a link to outside'):
        publish(tmp_path / "models/m", model, {}, "")
