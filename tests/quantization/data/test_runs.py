"""Runs: read unchanged, or refused by name."""

import sys
import types
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.core.errors import ConfigError
from service.core.tensors import DATATYPES, Signature, TensorSpec
from service.quantization.data.reading import read_data
from service.quantization.data.rows import Rows, load_rows, save_rows, split
from service.quantization.data.runs import AS_THEY_COME

SIGNATURE = Signature(
    (
        TensorSpec("x", DATATYPES["FP32"], ("batch", "time")),
        TensorSpec("state", DATATYPES["FP32"], (2, "batch", 4)),
        TensorSpec("rate", DATATYPES["INT64"], ()),
    ),
    (),
)
COUNT = 20


def run(number: int) -> dict:
    return {
        "x": np.full((1 + number % 2, 3 + number % 4), number, np.float32),
        "state": np.full((2, 1 + number % 2, 4), number, np.float32),
        "rate": 16000,
    }


def read(spec: object, labels: str | None = None) -> Rows:
    return read_data(str(spec), Path("none"), SIGNATURE, labels, seed=0)


@pytest.fixture
def module(monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    found = types.ModuleType("runs_of_mine")
    monkeypatch.setitem(sys.modules, "runs_of_mine", found)
    return found


def given(module: types.ModuleType, runs: object) -> Rows:
    module.f = lambda: runs  # type: ignore[attr-defined]
    return read("runs_of_mine:f")


def test_each_dict_is_one_run(module: types.ModuleType) -> None:
    rows = given(module, (run(i) for i in range(COUNT)))
    assert rows.by_run
    assert len(rows) == COUNT
    assert [array.shape for array in rows.feeds[3]] == [(2, 6), (2, 2, 4), ()]
    assert [array.dtype for array in rows.feeds[3]] == [np.float32, np.float32, np.int64]
    assert rows.notes == (AS_THEY_COME,)


def test_arrays_that_are_overwritten_between_yields_are_copied(module: types.ModuleType) -> None:
    def runs() -> Iterator[dict]:
        state = np.zeros((2, 1, 4), np.float32)
        for _ in range(COUNT):
            yield {"x": np.ones((1, 3), np.float32), "state": state, "rate": 8000}
            state += 1

    rows = given(module, runs())
    assert [float(row[1].max()) for row in rows.feeds] == list(range(COUNT))


def test_each_archive_of_a_folder_is_a_run_with_labels(tmp_path: Path) -> None:
    for number in range(COUNT):
        np.savez(tmp_path / f"{number:02}.npz", **run(number), label=np.arange(number % 3))
    rows = read(tmp_path)
    assert rows.labels is not None
    assert [len(each) for each in rows.labels[:4]] == [0, 1, 2, 0]
    assert rows.feeds[5][0][0, 0] == 5


def test_an_archive_with_one_more_axis_contains_many_runs(tmp_path: Path) -> None:
    runs = [run(0) for _ in range(COUNT)]
    stacked = {name: np.stack([each[name] for each in runs]) for name in runs[0]}
    np.savez(tmp_path / "all.npz", **stacked, y=np.arange(COUNT))
    rows = read(tmp_path / "all.npz")
    assert [array.shape for array in rows.feeds[0]] == [(1, 3), (2, 1, 4), ()]
    assert rows.labels is not None
    assert rows.labels.tolist() == list(range(COUNT))
    np.savez(tmp_path / "short.npz", **stacked, y=np.arange(COUNT - 1))
    with pytest.raises(ConfigError, match=r'"y" has shape \[19\]; there are 20 runs'):
        read(tmp_path / "short.npz")


def test_too_few_runs_are_refused_with_the_possible_forms(tmp_path: Path) -> None:
    np.savez(tmp_path / "one.npz", **run(0))
    with pytest.raises(ConfigError, match=r"has 1 run \(shapes \[1, 3\].*a dict for each run, a f"):
        split(read(tmp_path / "one.npz"), seed=0, most=100)


def test_calibration_runs_may_be_few_and_need_no_labels(tmp_path: Path) -> None:
    for number in range(3):
        np.savez(tmp_path / f"{number}.npz", **run(number), **({"truth": 1} if number < 2 else {}))
    with pytest.raises(ConfigError, match="2.npz: .*truth|1 of 3 parts"):
        read(tmp_path, "truth")
    (tmp_path / "0.npz").unlink()
    (tmp_path / "1.npz").unlink()
    rows = read_data(str(tmp_path), Path("none"), SIGNATURE, "truth", seed=0, needs_labels=False)
    assert len(rows) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (
            {"rate": None},
            'dict 5: there is no "rate"; the model takes .*INT64 .*, got "x", "state"',
        ),
        ({"speed": 1}, 'dict 5: "speed" is not an input of the model, .* use --labels speed'),
        ({"rate": np.array([8000])}, r'dict 5: "rate": the model takes INT64 \[\], got \[1\]'),
        ({"state": np.zeros((1, 2, 4))}, r'dict 5: "state": .*FP32 \[2, -1, 4\], got \[1, 2, 4\]'),
        ({"rate": 0.5}, 'dict 5: data "rate": the model takes INT64 .*got float64'),
        ({"x": np.full((1, 3), np.nan)}, 'dict 5: "x" holds NaN'),
        ({"x": [[1.0], [1.0, 2.0]]}, "dict 5: a value cannot be converted to an array"),
    ],
)
def test_a_run_that_does_not_fit_is_named(
    module: types.ModuleType, change: dict, message: str
) -> None:
    runs = [run(i) for i in range(COUNT)]
    runs[5] = {n: a for n, a in (runs[5] | change).items() if a is not None}
    with pytest.raises(ConfigError, match=message):
        given(module, runs)


def test_errors_of_the_function_are_reported_with_their_position(
    module: types.ModuleType,
) -> None:
    with pytest.raises(ConfigError, match="dict 2: it must yield dicts .*, not tuple"):
        given(module, [run(0), run(1), (1, 2)])
    with pytest.raises(ConfigError, match="there are no rows"):
        given(module, iter(()))

    def broken() -> Iterator[dict]:
        yield run(0)
        raise KeyError("song")

    with pytest.raises(ConfigError, match="KeyError: 'song', after 1 dicts"):
        given(module, broken())


def test_doubles_are_rounded_with_a_note(module: types.ModuleType) -> None:
    rows = given(module, [run(i) | {"x": np.ones((1, 3))} for i in range(COUNT)])
    assert rows.notes == ('"x" came as float64 and was cast to FP32.', AS_THEY_COME)


def test_runs_and_their_labels_can_be_split_saved_and_loaded(
    module: types.ModuleType, tmp_path: Path
) -> None:
    runs = [run(i) | {"y": np.arange(i % 3)} for i in range(COUNT)]
    part = split(given(module, runs), seed=0, most=100).evaluation
    save_rows(part, tmp_path / "runs.npz")
    found = load_rows(tmp_path / "runs.npz")
    assert found.by_run
    assert [found.number(place) for place in range(3)] == [part.number(place) for place in range(3)]
    for before, after in zip(part.feeds, found.feeds, strict=True):
        assert [a.tolist() for a in before] == [a.tolist() for a in after]
        assert all(isinstance(array, np.ndarray) for array in after)
    assert part.labels is not None
    assert found.labels is not None
    assert [a.tolist() for a in found.labels] == [a.tolist() for a in part.labels]
    assert all(found.feeds[i][0].flat[0] == found.number(i) for i in range(len(found)))
