"""A version is assembled in a hidden folder, and published completely or removed."""

import errno
import hashlib
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from service.core.errors import InvalidName, StorageFailed, StorageFull, VersionExists
from service.engine.storage.staging import (
    PREFIX,
    Staging,
    highest_version,
    is_taken,
    remove_abandoned,
)

ROOT = Path(__file__).parents[3]
MODEL, DATA = PurePosixPath("model.onnx"), PurePosixPath("data/w.bin")


def tree(root: Path) -> dict[str, bytes]:
    return {
        str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()
    }


def folders(root: Path) -> list[str]:
    return sorted(path.name for path in root.iterdir()) if root.exists() else []


def staged(root: Path, data: bytes = b"graph") -> Staging:
    made = Staging(root, "m")
    made.create()
    made.append(MODEL, data)
    return made


def test_files_are_published_together_under_their_version(tmp_path: Path) -> None:
    made = staged(tmp_path, b"gra")
    made.append(MODEL, b"ph")
    made.append(DATA, b"weights")
    assert all(name.startswith(f"m/{PREFIX}") for name in tree(tmp_path))
    sums = made.seal()
    assert sums == {
        MODEL: hashlib.sha256(b"graph").hexdigest(),
        DATA: hashlib.sha256(b"weights").hexdigest(),
    }
    assert made.bytes == 12
    assert made.publish(None) == 1
    made.discard()
    assert tree(tmp_path) == {"m/1/model.onnx": b"graph", "m/1/data/w.bin": b"weights"}


def test_a_file_can_be_renamed(tmp_path: Path) -> None:
    made = staged(tmp_path)
    made.append(PurePosixPath("net.onnx"), b"other")
    made.seal()
    made.rename(PurePosixPath("net.onnx"), PurePosixPath("second.onnx"))
    made.publish(4)
    assert tree(tmp_path) == {"m/4/model.onnx": b"graph", "m/4/second.onnx": b"other"}


def test_a_finished_file_cannot_be_written_again(tmp_path: Path) -> None:
    made = staged(tmp_path)
    made.append(DATA, b"weights")
    with pytest.raises(StorageFailed, match="File exists"):
        made.append(MODEL, b"more")
    made.discard()


def test_discarded_files_are_removed_and_not_written_again(tmp_path: Path) -> None:
    made = staged(tmp_path)
    made.discard()
    made.append(DATA, b"late")
    made.discard()
    assert folders(tmp_path) == []


def test_a_model_folder_with_other_files_is_kept(tmp_path: Path) -> None:
    (tmp_path / "m").mkdir()
    (tmp_path / "m/model.toml").write_text("")
    staged(tmp_path).discard()
    assert folders(tmp_path / "m") == ["model.toml"]


def test_the_folder_of_a_new_model_is_removed_with_its_last_upload(tmp_path: Path) -> None:
    one, other = staged(tmp_path), staged(tmp_path)
    one.discard()
    assert folders(tmp_path / "m") == [other.folder.name]
    other.discard()
    assert folders(tmp_path) == []


@pytest.mark.parametrize(
    "make",
    [Path.mkdir, Path.touch, lambda path: path.symlink_to("x")],
    ids=["folder", "file", "link"],
)
def test_an_existing_number_is_refused(tmp_path: Path, make: Callable[[Path], object]) -> None:
    made = staged(tmp_path)
    made.seal()
    make(tmp_path / "m/3")
    with pytest.raises(VersionExists, match='model "m" has a version 3 already'):
        made.publish(3)
    assert made.publish(None) == 4


def test_the_next_version_is_one_more_than_the_highest_number(tmp_path: Path) -> None:
    model = tmp_path / "m"
    model.mkdir()
    assert highest_version(model) == 0 and not is_taken(model, 1)
    (model / "model.onnx").touch()  # version 1, without a folder
    assert highest_version(model) == 1 and is_taken(model, 1)
    for name in ("7", "08", "v9", "x"):
        (model / name).mkdir()
    assert highest_version(model) == 7 and is_taken(model, 7) and not is_taken(model, 8)


def test_a_model_folder_that_links_outside_is_refused(tmp_path: Path) -> None:
    root, outside = tmp_path / "models", tmp_path / "outside"
    root.mkdir()
    outside.mkdir()
    (root / "m").symlink_to(outside)
    with pytest.raises(InvalidName, match='"m" is a link to outside'):
        Staging(root, "m").create()
    assert folders(outside) == []


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (errno.ENOSPC, StorageFull),
        (errno.EDQUOT, StorageFull),
        (errno.EROFS, StorageFailed),
        (errno.EIO, StorageFailed),
    ],
)
def test_disk_errors_name_the_model_and_no_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int, kind: type[StorageFailed]
) -> None:
    def fail(_: int) -> None:
        raise OSError(code, os.strerror(code), str(tmp_path))

    made = staged(tmp_path)
    with monkeypatch.context() as broken:
        broken.setattr("os.fsync", fail)
        with pytest.raises(StorageFailed) as error:
            made.seal()
    assert type(error.value) is kind
    assert str(error.value) == f'cannot store model "m": {os.strerror(code)} (after 5 bytes)'
    made.discard()
    assert folders(tmp_path) == []


def test_a_file_system_without_fsync_of_folders_is_supported(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def only_files(held: int) -> None:
        if os.fstat(held).st_mode & 0o40000:
            raise OSError(errno.EINVAL, "")

    monkeypatch.setattr("os.fsync", only_files)
    made = staged(tmp_path)
    made.seal()
    assert made.publish(None) == 1


ABANDONING = """
import os, sys
from pathlib import Path, PurePosixPath
from service.engine.storage.staging import Staging
made = Staging(Path(sys.argv[1]), sys.argv[2])
made.create()
made.append(PurePosixPath("model.onnx"), b"half")
os._exit(0)
"""


def test_only_leftovers_of_dead_processes_are_removed(tmp_path: Path) -> None:
    living = staged(tmp_path)
    (tmp_path / "m/1").mkdir()
    for model in ("m", "new"):
        command = [sys.executable, "-c", ABANDONING, str(tmp_path), model]
        subprocess.run(command, check=True, cwd=ROOT, timeout=60)
    removed = remove_abandoned(tmp_path)
    assert sorted(each.parent.name for each in removed) == ["m", "new"]
    assert folders(tmp_path) == ["m"]
    assert folders(tmp_path / "m") == sorted([living.folder.name, "1"])
    living.discard()
    assert remove_abandoned(tmp_path) == [] == remove_abandoned(tmp_path / "nowhere")


def test_links_are_not_followed_when_leftovers_are_removed(tmp_path: Path) -> None:
    root, outside = tmp_path / "models", tmp_path / "outside"
    (outside / f"{PREFIX}x").mkdir(parents=True)
    (root / "m").mkdir(parents=True)
    (root / "m" / f"{PREFIX}link").symlink_to(outside / f"{PREFIX}x")
    (root / "away").symlink_to(outside)
    assert remove_abandoned(root) == []
    assert folders(outside) == [f"{PREFIX}x"]


class Uploads(RuleBasedStateMachine):
    """Several concurrent uploads of one model, in any order."""

    numbers = st.none() | st.integers(1, 4)

    def __init__(self) -> None:
        super().__init__()
        self.temporary = TemporaryDirectory()
        self.root = Path(self.temporary.name)
        self.staged: list[tuple[Staging, bytes]] = []
        self.published: dict[int, bytes] = {}
        self.count = 0

    @rule()
    def create(self) -> None:
        self.count += 1
        data = str(self.count).encode()
        self.staged.append((staged(self.root, data), data))

    @precondition(lambda self: self.staged)
    @rule(number=numbers, which=st.integers(0))
    def publish(self, number: int | None, which: int) -> None:
        made, data = self.staged[which % len(self.staged)]
        made.seal()
        try:
            found = made.publish(number)
        except VersionExists:
            assert number in self.published
            return
        assert found == number or (number is None and found == max(self.published, default=0) + 1)
        assert found not in self.published
        self.published[found] = data
        self.staged.remove((made, data))
        made.discard()

    @precondition(lambda self: self.staged)
    @rule(which=st.integers(0))
    def discard(self, which: int) -> None:
        self.staged.pop(which % len(self.staged))[0].discard()

    @rule()
    def clean_up(self) -> None:
        assert remove_abandoned(self.root) == []

    @invariant()
    def published_versions_are_complete(self) -> None:
        visible = {k: v for k, v in tree(self.root).items() if PREFIX not in k}
        assert visible == {f"m/{n}/model.onnx": data for n, data in self.published.items()}
        hidden = [name for name in folders(self.root / "m") if name.startswith(PREFIX)]
        assert len(hidden) == len(self.staged)
        assert (self.root / "m").exists() or not (self.published or self.staged)

    def teardown(self) -> None:
        for made, _ in self.staged:
            made.discard()
        self.temporary.cleanup()


Uploads.TestCase.settings = settings(max_examples=40, stateful_step_count=20, deadline=None)
TestUploads = Uploads.TestCase
