"""The forms of data."""

import sys
import types
from pathlib import Path

import numpy as np
import pytest

from service.core.errors import ConfigError
from service.core.tensors import DATATYPES, Signature, TensorSpec
from service.quantization.data.reading import read_data
from service.quantization.data.rows import Rows

SIGNATURE = Signature((TensorSpec("x", DATATYPES["FP32"], ("batch", 1, 8, 8)),), ())
IMAGES = np.random.default_rng(0).random((6, 1, 8, 8), np.float32)


def read(spec: object, model: Path = Path("none"), labels: str | None = None) -> Rows:
    return read_data(str(spec), model, SIGNATURE, labels, seed=0)


def test_an_archive_of_arrays_with_labels(data: Path) -> None:
    rows = read(data)
    assert len(rows) == 64
    assert rows.labels is not None


def test_a_golden_set_is_data_too(tmp_path: Path) -> None:
    values = {"inputs/x": IMAGES, "outputs/y": np.zeros(6), "labels": np.arange(6)}
    np.savez(tmp_path / "golden.npz", **values)
    assert len(read(tmp_path / "golden.npz")) == 6


def test_a_folder_with_one_file_per_input(tmp_path: Path) -> None:
    np.save(tmp_path / "x.npy", IMAGES)
    np.save(tmp_path / "labels.npy", np.arange(6))
    rows = read(tmp_path)
    assert rows.labels is not None
    assert rows.labels.tolist() == list(range(6))


def test_a_folder_with_one_file_per_row(tmp_path: Path) -> None:
    for number, image in enumerate(IMAGES):
        np.savez(tmp_path / f"{number}.npz", x=image, label=number)
    rows = read(tmp_path)
    assert rows.feeds[5][0].shape == (1, 1, 8, 8)
    assert rows.labels is not None
    assert rows.labels.tolist() == list(range(6))


def test_a_function_that_yields_dicts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows_of_mine.py").write_text(
        "import numpy as np\n"
        "def rows():\n    for i in range(5):\n        yield {'x': np.ones((1, 8, 8), np.float32)}\n"
    )
    monkeypatch.chdir(tmp_path)
    assert len(read("rows_of_mine:rows")) == 5


def test_random_rows_fit_the_model(model: Path) -> None:
    rows = read("random", model)
    assert len(rows) == 128
    assert rows.labels is None
    assert rows.feeds[0][0].dtype == np.float32


@pytest.mark.parametrize(
    ("spec", "labels", "message"),
    [
        ("nowhere", None, "expected an .npz file, a folder .*no such file"),
        ("no_such_module:f", None, "ModuleNotFoundError"),
        ("data.npz", "truth", 'data.npz: the data has no labels "truth"; it has "x", "labels"'),
    ],
)
def test_invalid_data_is_refused(data: Path, spec: str, labels: str | None, message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        read(data if spec == "data.npz" else spec, labels=labels)


def test_a_label_for_each_row_is_required(tmp_path: Path) -> None:
    np.savez(tmp_path / "d.npz", x=IMAGES, labels=np.arange(5))
    with pytest.raises(ConfigError, match='there are 5 labels "labels" for 6 rows'):
        read(tmp_path / "d.npz")


def test_a_single_array_is_enough_for_a_single_input(tmp_path: Path) -> None:
    np.save(tmp_path / "images.npy", IMAGES)
    assert len(read(tmp_path / "images.npy")) == 6


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"x": IMAGES[:0]}, "there are no rows"),
        ({}, 'no array "x" .*has nothing'),
        ({"x": IMAGES.astype(object)}, "Python objects, which would run code when loaded"),
        ({"x": IMAGES, "labels": np.arange(5)}, 'there are 5 labels "labels" for 6 rows'),
    ],
)
def test_an_archive_with_the_wrong_arrays_is_named_with_the_reason(
    tmp_path: Path, arrays: dict[str, np.ndarray], message: str
) -> None:
    np.savez(tmp_path / "rows.npz", **arrays)
    with pytest.raises(ConfigError, match=rf"rows\.npz: .*{message}"):
        read(tmp_path / "rows.npz")


def test_files_that_are_not_archives_or_not_whole_are_refused(data: Path) -> None:
    whole = data.read_bytes()
    for content in (b"", b"nonsense", whole[:2000]):
        data.write_bytes(content)
        with pytest.raises(ConfigError, match=r"not an \.npz file, or it is incomplete"):
            read(data)
    data.write_bytes(whole[:3000] + bytes(4000) + whole[7000:])
    with pytest.raises(ConfigError, match=r"Bad CRC-32"):
        read(data)


def test_labels_that_some_parts_lack_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES)
    np.savez(tmp_path / "b.npz", x=IMAGES, labels=np.arange(6))
    with pytest.raises(ConfigError, match='1 of 2 parts of the data have no labels "labels"'):
        read(tmp_path)


def test_a_row_that_is_not_finite_is_counted_over_all_parts(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", x=IMAGES)
    broken = IMAGES.copy()
    broken[2, 0, 1, 1] = np.nan
    np.savez(tmp_path / "b.npz", x=broken)
    with pytest.raises(ConfigError, match="row 8 holds NaN"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("yield 3", "must yield dicts of arrays by input name, not int"),
        ("raise RuntimeError('down')\n    yield", r"RuntimeError: down \(broken_rows.py, line 2\)"),
        ("raise SystemExit(3)\n    yield", "SystemExit: 3"),
        ("return iter(())", "there are no rows"),
    ],
)
def test_a_function_that_returns_no_rows_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, body: str, message: str
) -> None:
    (tmp_path / "broken_rows.py").write_text(f"def rows():\n    {body}\n")
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(sys.modules, "broken_rows", raising=False)
    with pytest.raises(ConfigError, match=message):
        read("broken_rows:rows")


def test_a_function_that_never_ends_is_stopped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "endless_rows.py").write_text(
        "import numpy as np\nROW = {'x': np.ones((1, 8, 8), np.float32)}\n"
        "def rows():\n    while True:\n        yield ROW\n"
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("service.quantization.data.reading.MOST_FEEDS", 40)
    rows = read("endless_rows:rows")
    assert len(rows) == 40
    assert rows.notes == ("endless_rows:rows yields more than the 40 dicts used.",)


@pytest.mark.parametrize(
    ("shape", "kept"), [((6, 5), (6, 5)), ((6, 1), (6,)), ((6, 1, 4), (6, 1, 4))]
)
def test_a_row_may_have_several_labels(
    tmp_path: Path, shape: tuple[int, ...], kept: tuple[int, ...]
) -> None:
    np.savez(tmp_path / "several.npz", x=IMAGES, labels=np.zeros(shape, int))
    rows = read(tmp_path / "several.npz")
    assert rows.labels is not None
    assert rows.labels.shape == kept


def labelled(monkeypatch: pytest.MonkeyPatch, labels: list[dict]) -> Rows:
    module = types.ModuleType("rows_with_labels")
    module.rows = lambda: [{"x": x} | more for x, more in zip(IMAGES, labels, strict=True)]  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "rows_with_labels", module)
    return read("rows_with_labels:rows")


def test_the_labels_of_a_single_row_may_lack_its_axis(monkeypatch: pytest.MonkeyPatch) -> None:
    rows = labelled(monkeypatch, [{"labels": np.full(5, i)} for i in range(6)])
    assert rows.labels is not None
    assert rows.labels.shape == (6, 5)


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([{"y": 1}] * 5 + [{}], '1 of 6 parts of the data have no labels "y"'),
        ([{"y": np.zeros(3 + i % 2)} for i in range(6)], r"such as \[3\] and \[4\] for a row"),
    ],
)
def test_labels_that_do_not_form_an_array_are_refused(
    monkeypatch: pytest.MonkeyPatch, labels: list[dict], message: str
) -> None:
    with pytest.raises(ConfigError, match=message):
        labelled(monkeypatch, labels)
