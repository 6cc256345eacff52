"""Small files are read up to a limit, and anything else in their place is refused at once."""

import os
import socket
import tomllib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.errors import FileUnreadable
from service.files import read_small, read_toml, remove_drafts, replace_text

LIMIT = 100


def a_socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(path))


def zeros(path: Path) -> None:
    path.touch()
    os.truncate(path, 8 * 2**30)


NO_FILES: dict[str, tuple[Callable[[Path], object], str]] = {
    "pipe": (os.mkfifo, "is not a file"),
    "folder": (Path.mkdir, "is not a file"),
    "socket": (a_socket, "is not a file"),
    "device": (lambda path: path.symlink_to("/dev/zero"), "is not a file"),
    "terminal": (lambda path: path.symlink_to("/dev/tty"), "is not a file"),
    "zeros": (zeros, "has more than 100 bytes"),
    "endless": (lambda path: path.symlink_to("/proc/self/smaps"), "has more than 100 bytes"),
    "broken link": (lambda path: path.symlink_to("nowhere"), "is a link to nothing"),
    "loop": (lambda path: path.symlink_to(path.name), "Too many levels of symbolic links"),
    "pipe by a link": (
        lambda path: (os.mkfifo(path.with_name("p")), path.symlink_to("p")),
        "is not a file",
    ),
}


@pytest.mark.parametrize("kind", NO_FILES)
def test_other_kinds_of_files_are_refused_and_named(tmp_path: Path, kind: str) -> None:
    make, problem = NO_FILES[kind]
    make(tmp_path / "some.toml")
    with pytest.raises(FileUnreadable, match=f"^some.toml:? {problem}"):
        read_small(tmp_path / "some.toml", LIMIT)


def test_a_pipe_that_replaces_a_file_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is replaced between the check and the open."""
    path, before = tmp_path / "some.toml", tmp_path / "before"
    before.touch()
    os.mkfifo(path)
    stat = before.stat()
    monkeypatch.setattr(Path, "stat", lambda _: stat)
    with pytest.raises(FileUnreadable, match="is not a file"):
        read_small(path, LIMIT)


def test_a_small_file_is_read_through_a_link_and_up_to_its_limit(tmp_path: Path) -> None:
    (tmp_path / "data").write_bytes(b"x" * LIMIT)
    (tmp_path / "link").symlink_to("data")
    assert read_small(tmp_path / "link", LIMIT) == b"x" * LIMIT
    assert read_small(tmp_path / "nowhere", LIMIT) is None
    assert read_small(tmp_path / "zero\0byte", LIMIT) is None


def test_a_file_that_would_block_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Like /proc/kmsg, which claims to be a regular file."""
    end, begin = os.pipe()
    os.set_blocking(end, False)
    monkeypatch.setattr("service.files._opened", lambda *_: os.fdopen(end, "rb"))
    with pytest.raises(FileUnreadable, match="some.toml has nothing to read"):
        read_small(tmp_path / "some.toml", LIMIT)
    os.close(begin)


TOO_MUCH = {
    "brackets": "a = " + "[" * 20_000,
    "deep arrays": "a = " + "[" * 100 + "]" * 100,
    "dots": "a" + ".a" * 20_000 + " = 1",
    "spaced dots": 'a = {x . "y"' + ' . "y"' * 20_000 + " = 1}",
    "a deep key": "a" + ".a" * 40 + " = 1",
    "a large integer": "a = 9223372036854775808",
    "a huge integer": "a = " + "9" * 5000,
    "a large integer within": "a = [[{b = -99999999999999999999}]]",
    "many tables": "\n".join(f"[a.b{number}]" for number in range(2001)),
    "no text": b"\xff\xfe",
    "zeros": b"\0" * 100,
}


@pytest.mark.parametrize("case", TOO_MUCH)
def test_hostile_toml_is_refused(tmp_path: Path, case: str) -> None:
    text = TOO_MUCH[case]
    (tmp_path / "some.toml").write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(FileUnreadable, match="^some.toml: ") as raised:
        read_toml(tmp_path / "some.toml")
    assert len(str(raised.value)) < 400


def test_ordinary_toml_is_read(tmp_path: Path) -> None:
    labels = ", ".join(f'"No. {n}, the U.S.A. of 1.2.3"' for n in range(5000))
    text = f"﻿a.b.c = 1\n[outputs.'x.y.z']\nlabels = [{labels}]\n"
    (tmp_path / "some.toml").write_text(text, "utf-8")
    assert read_toml(tmp_path / "some.toml") == tomllib.loads(text.removeprefix("﻿"))
    assert read_toml(tmp_path / "none.toml") is None


@given(st.binary(max_size=200))
def test_any_bytes_are_parsed_or_refused(data: bytes) -> None:
    from tempfile import TemporaryDirectory

    with TemporaryDirectory() as folder:
        path = Path(folder, "some.toml")
        path.write_bytes(data)
        try:
            assert isinstance(read_toml(path), dict)
        except FileUnreadable as error:
            assert str(error).startswith("some.toml")


def test_a_text_is_replaced_atomically(tmp_path: Path) -> None:
    path = tmp_path / "some.toml"
    replace_text(path, "a = 1\n")
    replace_text(path, "é = 2\n")
    assert path.read_text("utf-8") == "é = 2\n"
    with pytest.raises(UnicodeError):
        replace_text(path, "\udce9")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="directory"):
        replace_text(tmp_path / "folder", "")
    assert sorted(each.name for each in tmp_path.iterdir()) == ["folder", "some.toml"]


def test_drafts_of_ended_processes_are_removed(tmp_path: Path) -> None:
    import fcntl

    name = ".some.toml-0123456789abcdef"
    other = ".other.toml-0123456789abcdef"
    kept = [other, ".some.toml-0123", "some.toml-0123456789abcdef", ".some.toml-fedcba9876543210"]
    for each in (name, *kept):
        (tmp_path / each).touch()
    os.mkfifo(tmp_path / ".some.toml-1111111111111111")
    with (tmp_path / kept[-1]).open() as held:
        fcntl.flock(held, fcntl.LOCK_EX)
        assert remove_drafts(tmp_path, {"some.toml"}) == [tmp_path / name]
    assert set(kept) <= {each.name for each in tmp_path.iterdir()}
