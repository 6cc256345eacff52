"""Which models ask for a worker of their own."""

import os
from pathlib import Path

import pytest

from service.supervision.own_models import own_models


def write(folder: Path, name: str, toml: bytes) -> None:
    (folder / name).mkdir()
    (folder / name / "model.toml").write_bytes(toml)


def test_models_that_ask_are_found_in_order(tmp_path: Path) -> None:
    write(tmp_path, "b", b"[worker]\nown = true\n")
    write(tmp_path, "a", b"[batching]\nmax_queue_size = 5\n[worker]\nown=true")
    (tmp_path / "c").mkdir()
    (tmp_path / "file").write_text("own")
    write(tmp_path, "d", b"\xef\xbb\xbf[worker]\nown = true\n")
    assert own_models(tmp_path) == ("a", "b", "d")


@pytest.mark.parametrize(
    "toml",
    [
        b"",
        b"[worker]\nown = false",
        b"[worker]\nown = 1",
        b"own = true",
        b"worker = 'own'",
        b"[worker\nown = true",
        b"[worker]\nown = true\n\xff",
        b"own = " + 5000 * b"[",
    ],
)
def test_anything_else_asks_for_nothing(tmp_path: Path, toml: bytes) -> None:
    write(tmp_path, "m", toml)
    write(tmp_path, ".hidden", b"[worker]\nown = true\n")
    assert own_models(tmp_path) == ()
    assert own_models(tmp_path / "none") == ()


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    os.mkfifo(tmp_path / "m/model.toml")
    assert own_models(tmp_path) == ()
