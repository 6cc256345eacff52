"""Errors of file access name the file, the user of the process, the owner, and what to do."""

import errno
import os
import subprocess
import sys
from pathlib import Path

import pytest

from service.engine.storage.access import READ_ONLY, REFUSED, explained, parties, unwritable
from tests.parts import LINUX
from tests.repositories import put, scale
from tests.system.process import ROOT, obey_permissions

ME = f"the server runs as uid {os.geteuid()}, gid {os.getegid()}"
ASK = (
    "import sys; from pathlib import Path; from service.engine.storage.access import denials\n"
    "print(*denials(Path(sys.argv[1])), sep='\\n')"
)


def denials(root: Path) -> list[str]:
    """Return the lines of a process without root's privileges, even if root runs the tests."""
    done = subprocess.run(
        [sys.executable, "-c", ASK, str(root)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        preexec_fn=obey_permissions,
    )
    return [line for line in done.stdout.splitlines() if line]


def error(code: int) -> OSError:
    return OSError(code, os.strerror(code))


def test_an_error_names_the_file_by_its_model(tmp_path: Path) -> None:
    told = unwritable(tmp_path / "m/serving.toml", error(errno.EIO))
    assert told == "m/serving.toml cannot be written: Input/output error (EIO)"


def test_the_error_for_a_read_only_file_system_says_how_to_mount_it(tmp_path: Path) -> None:
    told = explained(tmp_path, error(errno.EROFS))
    assert told == f"Read-only file system (EROFS): {ME}; {READ_ONLY}"


def test_an_error_without_a_number_is_described_by_its_class(tmp_path: Path) -> None:
    assert explained(tmp_path, TimeoutError("slow")) == "slow (TimeoutError)"


def test_the_advice_for_an_own_folder_is_chmod(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    told = explained(tmp_path, error(errno.EACCES))
    owner = f"{tmp_path} belongs to uid {os.geteuid()}, gid {tmp_path.stat().st_gid}, mode 0500"
    assert told == f"Permission denied (EACCES): {ME}, {owner}; chmod -R u+rwX {tmp_path}"


def test_the_advice_for_a_foreign_folder_is_chown_or_another_user(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if os.geteuid() == 0:
        os.chown(tmp_path, 4242, 4343)
    found = tmp_path.stat()
    monkeypatch.setattr("os.geteuid", lambda: 1)
    user = f"{found.st_uid}:{found.st_gid}"
    assert parties(tmp_path).endswith(
        f'; chown -R 1 {tmp_path}, or run the server as its owner (user: "{user}")'
    )


def test_an_inaccessible_folder_is_described(tmp_path: Path) -> None:
    told = parties(tmp_path / "gone")
    assert told == (
        f"{ME}, and cannot access {tmp_path}/gone (No such file or directory);"
        " chown the folders above it"
    )


@LINUX.unless(sys.platform == "linux")
class TestDenials:
    """The folder of models is checked at the start."""

    @pytest.fixture
    def models(self, tmp_path: Path) -> Path:
        for name in ("a", "b"):
            put(tmp_path, name, 1, scale(1))
        return tmp_path

    def test_there_is_no_message_for_accessible_files(self, models: Path) -> None:
        (models / "a/1").chmod(0o500)  # the server never writes to a version
        (models / ".hidden").mkdir(mode=0o000)
        (models / "link").symlink_to(models / "nowhere")
        assert denials(models) == []

    def test_unreadable_files_and_folders_are_named(self, models: Path) -> None:
        (models / "a/1/model.onnx").chmod(0o000)
        (models / "b/1").chmod(0o300)
        (line,) = denials(models)
        assert line.startswith(f"cannot be read: {models}/a/1/model.onnx, {models}/b/1: {ME}")

    def test_unwritable_folders_are_named_with_the_consequence(self, models: Path) -> None:
        (models / "a").chmod(0o500)
        models.chmod(0o500)
        (line,) = denials(models)
        assert line.startswith(
            f"cannot be written: {models}, {models}/a: Permission denied (EACCES)"
        )
        assert line.endswith(f"; {REFUSED}")

    def test_only_a_few_of_many_files_are_named(self, models: Path) -> None:
        for number in range(5):
            (models / f"a/1/{number}.bin").touch(mode=0o000)
        (line,) = denials(models)
        assert f"{models}/a/1/2.bin and 2 more: " in line
