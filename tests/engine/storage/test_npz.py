"""Archives of arrays are read within a memory limit, even if their headers are wrong."""

import io
import os
import struct
import zipfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import FileUnreadable
from service.engine.storage.npz import read_npy, read_npz

MOST = 10**6


def npy(shape: object, descr: object = "<f4", data: bytes = b"", version: int = 1) -> bytes:
    """An .npy file with any header."""
    text = f"{{'descr': {descr!r}, 'fortran_order': False, 'shape': {shape!r}}}\n".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes([version, 0]) + length + text + data


def archive(path: Path, members: dict[str, bytes], method: int = zipfile.ZIP_DEFLATED) -> Path:
    with zipfile.ZipFile(path, "w", method) as made:
        for name, data in members.items():
            made.writestr(f"{name}.npy", data)
    return path


ARRAYS = {
    "inputs/x": np.arange(24, dtype=np.float32).reshape(2, 3, 4),
    "columns": np.asfortranarray(np.arange(6).reshape(2, 3)),
    "scalar": np.array(3.5),
    "none": np.zeros((0, 5), np.int8),
    "text": np.array(["é", "longer"]),
    "no text": np.array(["", ""]),
    "bytes": np.array([b"a", b"bc"]),
    "flags": np.array([True, False]),
    "times": np.array(["2020-01-01"], "datetime64[D]"),
}


@pytest.mark.parametrize("save", [np.savez, np.savez_compressed])
def test_archives_of_numpy_are_read(tmp_path: Path, save: object) -> None:
    save(tmp_path / "a.npz", **ARRAYS)  # type: ignore[operator]
    found = read_npz(tmp_path / "a.npz", MOST)
    assert found.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert found[name].dtype == array.dtype and found[name].flags.writeable
        np.testing.assert_array_equal(found[name], array)
        np.save(tmp_path / "a.npy", array)
        np.testing.assert_array_equal(read_npy(tmp_path / "a.npy", MOST), array)


def test_each_version_of_the_format_is_read(tmp_path: Path) -> None:
    for version in (1, 2, 3):
        data = io.BytesIO()
        np.lib.format.write_array(data, ARRAYS["inputs/x"], (version, 0))
        archive(tmp_path / "a.npz", {"x": data.getvalue()})
        np.testing.assert_array_equal(read_npz(tmp_path / "a.npz", MOST)["x"], ARRAYS["inputs/x"])


CLAIMS = {
    "a huge shape": npy((10**9, 10**9)),
    "a shape beyond integers": npy((0, 10**30)),
    "a negative shape": npy((-1,), data=b"1234"),
    "texts of no length": npy((10**12,), "<U0"),
    "arrays of no bytes": npy((10**15,), "|V0"),
    "long texts": npy((1,), "<U2000000000"),
    "arrays in an array": npy((1,), ("<f4", (10**9,))),
    "objects": npy((1,), "|O", b"\x80\4N."),
    "an object in a field": npy((1,), [("a", "|O")], b"\x80\4N."),
    "no shape": npy("(1,)"),
    "no type": npy((1,), "nonsense"),
    "brackets": npy((1,), [[[[]]]]),
    "a long header": npy((1,) * 20_000, version=2),
    "less than it says": npy((1000,), data=b"12"),
    "no magic": b"\0" * 100,
    "no header": b"\x93NUMPY\1\0\xff\xff",
    "nothing": b"",
    "many short texts": npy((50_000,), "|S1", b"x" * 50_000),
}


@pytest.mark.parametrize("case", CLAIMS)
def test_an_array_with_an_invalid_header_is_refused(tmp_path: Path, case: str) -> None:
    with pytest.raises(FileUnreadable, match=r"^a.npz cannot be read: \S"):
        read_npz(archive(tmp_path / "a.npz", {"x": CLAIMS[case]}), MOST)
    (tmp_path / "a.npy").write_bytes(CLAIMS[case])
    with pytest.raises(FileUnreadable, match=r"^a.npy cannot be read: \S"):
        read_npy(tmp_path / "a.npy", MOST)


def test_a_decompression_bomb_is_refused_before_decompression(tmp_path: Path) -> None:
    archive(tmp_path / "a.npz", {"x": npy((25 * 2**20,), data=bytes(100 * 2**20))})
    assert (tmp_path / "a.npz").stat().st_size < 2**20
    with pytest.raises(FileUnreadable, match="arrays take 1048.* bytes, the limit is 1000000"):
        read_npz(tmp_path / "a.npz", MOST)


def test_a_decompression_bomb_that_understates_its_size_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {"x": (member := npy((2**18,), data=bytes(2**20)))})
    data, size = path.read_bytes(), struct.pack("<I", len(member))
    assert size in data
    path.write_bytes(data.replace(size, struct.pack("<I", 1000)))
    with pytest.raises(FileUnreadable, match="a.npz cannot be read: Bad CRC-32"):
        read_npz(path, MOST)


def test_many_small_arrays_above_the_limit_are_refused(tmp_path: Path) -> None:
    member = npy((100,), "|S1", b"x" * 100)
    path = archive(tmp_path / "a.npz", {f"x{n}": member for n in range(200)})
    with pytest.raises(FileUnreadable, match="arrays take"):
        read_npz(path, MOST)
    path = archive(tmp_path / "a.npz", {f"x{n}": b"" for n in range(10_001)}, zipfile.ZIP_STORED)
    with pytest.raises(FileUnreadable, match="too many arrays|10001 arrays"):
        read_npz(path, 10**9)


def test_a_zip64_directory_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "a.npz", {})
    locator = b"PK\6\7" + struct.pack("<IQI", 0, 0, 1)
    path.write_bytes(locator + path.read_bytes())
    with pytest.raises(FileUnreadable, match="too many arrays"):
        read_npz(path, MOST)


@pytest.mark.parametrize("method", [zipfile.ZIP_LZMA, zipfile.ZIP_BZIP2])
def test_other_compressions_are_refused(tmp_path: Path, method: int) -> None:
    path = archive(tmp_path / "a.npz", {"x": npy((1,), data=b"1234")}, method)
    with pytest.raises(FileUnreadable, match="'x.npy' is compressed in a way"):
        read_npz(path, MOST)


def test_invalid_missing_and_too_large_files_have_different_errors(tmp_path: Path) -> None:
    path = tmp_path / "a.npz"
    np.savez(path, x=ARRAYS["inputs/x"])
    whole = path.read_bytes()
    for data in (b"", b"not a zip", whole[:-30], whole[: len(whole) // 2], npy((1,), data=b"1234")):
        path.write_bytes(data)
        with pytest.raises(FileUnreadable, match="is not an .npz file, or it is incomplete"):
            read_npz(path, MOST)
    path.unlink()
    with pytest.raises(FileNotFoundError):
        read_npz(path, MOST)
    os.mkfifo(path)
    with pytest.raises(FileUnreadable, match="^a.npz is not a file$"):
        read_npz(path, MOST)
    path.unlink()
    path.touch()
    os.truncate(path, 8 * 2**30)
    with pytest.raises(FileUnreadable, match="a.npz has more than"):
        read_npz(path, MOST)
    with pytest.raises(FileUnreadable, match="is not an .npz file, or it is incomplete"):
        read_npz(path, 10 * 2**30)


@given(st.data())
def test_an_archive_with_bytes_changed_is_read_or_refused(data: st.DataObject) -> None:
    from tempfile import TemporaryDirectory

    whole = io.BytesIO()
    np.savez(whole, x=ARRAYS["inputs/x"], text=ARRAYS["text"])
    changed = bytearray(whole.getvalue())
    for _ in range(data.draw(st.integers(1, 5))):
        changed[data.draw(st.integers(0, len(changed) - 1))] = data.draw(st.integers(0, 255))
    with TemporaryDirectory() as folder:
        path = Path(folder, "a.npz")
        path.write_bytes(changed)
        try:
            assert sum(array.nbytes for array in read_npz(path, MOST).values()) <= MOST
        except FileUnreadable as error:
            assert str(error).startswith("a.npz ")
