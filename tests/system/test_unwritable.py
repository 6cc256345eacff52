"""A models folder that the server may not write or read: its messages, and what still works."""

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.disks import read_only
from tests.parts import LINUX
from tests.patience import PATIENCE
from tests.repositories import put, scale
from tests.system.process import KEY, ROOT, Running, obey_permissions, running
from tests.system.test_models_folder import answers, call

pytestmark = LINUX.unless(sys.platform == "linux")
UID = os.geteuid()
OTHER = 4242


@pytest.fixture
def models(tmp_path: Path) -> Path:
    for number in (1, 2):
        put(tmp_path, "m", number, scale(number))
    return tmp_path


@contextmanager
def denied(path: Path, mode: int) -> Iterator[str]:
    """Deny access by the mode, and as root also by another owner; yield the remedy that the server
    should name."""
    path.chmod(mode)
    if UID == 0:
        os.chown(path, OTHER, OTHER)
    try:
        yield (
            f"chmod -R u+rwX {path}"
            if UID
            else f'chown -R 0 {path}, or run the server as its owner (user: "{OTHER}:{OTHER}")'
        )
    finally:
        os.chown(path, UID, os.getegid())
        path.chmod(0o755)


def swap(served: Running, verb: str = "swap", **body: Any) -> tuple[int, Any]:
    return call(f"http://{served.address}/admin/models/m/{verb}", body)


def command(served: Running, *arguments: str) -> tuple[int, str]:
    """Return the exit code and the output of a command."""
    done = subprocess.run(
        [sys.executable, "-m", "service", *arguments, "--url", f"http://{served.address}"],
        cwd=ROOT,
        env={**os.environ, "QUANTSERVE_ADMIN_KEY": KEY},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
    )
    return done.returncode, done.stdout + done.stderr


def audited(served: Running) -> list[dict[str, Any]]:
    return [line for line in served.logged() if line["logger"] == "quantserve.audit"]


def warned(served: Running, what: str) -> list[str]:
    found = [line["message"] for line in served.logged() if line["level"] == "warning"]
    return [text for text in found if what in text]


def test_a_swap_on_a_read_only_mount_is_refused_and_audited(models: Path) -> None:
    with read_only(models), running(models) as served:
        status, answer = swap(served, version=1)
        assert status == 409 and "nothing was changed" in answer["error"]
        assert "m/serving.toml" in answer["error"] and "EROFS" in answer["error"]
        assert f"uid {UID}" in answer["error"] and "--no-pin" in answer["error"]
        assert answers(served, "m") == 2
        code, words = command(served, "swap", "m", "1")
        assert code == 1 and "refused (409)" in words and "EROFS" in words
        assert [line["outcome"] for line in audited(served)] == ["rejected", "rejected"]
        assert all("EROFS" in line["error"] for line in audited(served))


def test_with_no_pin_a_swap_succeeds_with_a_note(
    models: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("QUANTSERVE_NO_PIN", "true")
    with read_only(models), running(models, "--poll", "0.1") as served:
        code, words = command(served, "swap", "m", "1")
        assert code == 0 and "not written to m/serving.toml, because of --no-pin" in words
        assert answers(served, "m") == 1
        status, answer = swap(served, "rollback")
        assert (status, answer["persisted"]) == (200, False) and "--no-pin" in answer["note"]
        assert answers(served, "m") == 2
        assert [line["outcome"] for line in audited(served)] == ["ok", "ok"]
        assert all("--no-pin" in line["note"] for line in audited(served))


def test_a_folder_of_another_owner_is_reported_with_the_remedy(models: Path) -> None:
    with denied(models / "m", 0o555) as remedy, running(models, before=obey_permissions) as served:
        status, answer = swap(served, version=1)
        assert status == 409 and answers(served, "m") == 2
        owner = (models / "m").stat()
        parts = [
            "Permission denied (EACCES)",
            f"the server runs as uid {UID}",
            f"belongs to uid {owner.st_uid}, gid {owner.st_gid}, mode 0555",
            remedy,
        ]
        for part in ("m/serving.toml cannot be written", *parts):
            assert part in answer["error"]
        (told,) = warned(served, "cannot be written")
        for part in (str(models / "m"), *parts):
            assert part in told


def test_unreadable_files_are_reported_at_the_start(models: Path) -> None:
    file = models / "m/2/model.onnx"
    with denied(file, 0o200) as remedy, running(models, before=obey_permissions) as served:
        (told,) = warned(served, "cannot be read")
        for part in (str(file), f"the server runs as uid {UID}", "mode 0200", remedy):
            assert part in told
        assert answers(served, "m") == 1


def test_a_read_only_mount_is_reported_at_the_start(models: Path) -> None:
    with read_only(models), running(models) as served:
        (told,) = warned(served, "cannot be written")
        assert "Read-only file system (EROFS)" in told and str(models) in told


def test_a_normal_folder_causes_no_warning(models: Path) -> None:
    (models / "lost+found").mkdir(mode=0)
    with running(models, before=obey_permissions) as served:
        assert warned(served, "cannot be") == []
