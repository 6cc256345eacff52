"""Uploads and keys on a real server: with its own commands, with curl, and by attackers."""

import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.disks import small_disk
from tests.parts import CURL
from tests.patience import PATIENCE, until

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models/digits/1/model.onnx"
SHA256 = hashlib.sha256(MODEL.read_bytes()).hexdigest()
KEYS = {"QUANTSERVE_ADMIN_KEY": "sesame-1,sesame-2", "QUANTSERVE_API_KEY": "predict-1"}
KEY = "an-admin-key"
"""Of servers that are given no other."""
Start = Callable[..., tuple["subprocess.Popen[str]", str, int]]


@contextmanager
def started(
    models: Path, environment: dict[str, str], *flags: str
) -> Iterator[tuple["subprocess.Popen[str]", str, int]]:
    """A server on a free port: its process, address and port."""
    command = [sys.executable, "-m", "service", "serve", "--no-supervisor"]
    command += ["--port", "0", "--models", str(models)]
    process = subprocess.Popen(
        [*command, *flags], cwd=ROOT, text=True,
        env={**os.environ, "QUANTSERVE_ADMIN_KEY": KEY, **environment},
        stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    )  # fmt: skip
    guard = threading.Timer(PATIENCE, process.kill)
    guard.start()
    try:
        assert process.stdout is not None
        found = None
        while not found and (line := process.stdout.readline()):
            found = re.search(r"serving at http://(\S+):(\d+),", line)
        guard.cancel()
        assert found, process.stderr.read() if process.stderr else ""
        yield process, f"http://{found[1]}:{found[2]}", int(found[2])
    finally:
        guard.cancel()
        process.terminate()
        process.wait(PATIENCE)
        for stream in (process.stdout, process.stderr):
            if stream:
                stream.close()


def command(*arguments: str, **environment: str) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [sys.executable, "-m", "service", *arguments],
        cwd=ROOT, text=True, capture_output=True, timeout=PATIENCE,
        env={**os.environ, "QUANTSERVE_ADMIN_KEY": KEY, **environment},
    )  # fmt: skip


def raw(port: int, head: str, *parts: bytes, finish: bool = False) -> tuple[int, bytes]:
    """Send raw bytes; return the status of the first reply, and everything received."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as line:
        line.sendall(head.replace("\n", "\r\n").encode("utf-8", "surrogateescape") + b"\r\n\r\n")
        for part in parts:
            line.sendall(part)
        if finish:
            line.shutdown(socket.SHUT_WR)
        answer = b""
        while not re.search(rb"\r\n\r\n.", answer) and (got := line.recv(65536)):
            answer += got
    match = re.match(rb"HTTP/1.1 (\d+)", answer)
    return int(match[1]) if match else 0, answer


@pytest.fixture(scope="module")
def keyed(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple["subprocess.Popen[str]", str, int, Path]]:
    """A server with keys, and its folder of models."""
    models = tmp_path_factory.mktemp("keyed") / "models"
    models.mkdir()
    with started(models, KEYS, "--log-level", "error", "--max-upload-bytes", "300000") as found:
        yield (*found, models)


@pytest.fixture(scope="module")
def open_(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, int, Path]]:
    """A server without keys that waits one second for a silent sender."""
    models = tmp_path_factory.mktemp("open")
    with started(models, {}, "--body-timeout", "1", "--max-upload-bytes", "300000") as found:
        yield (*found[1:], models)


def test_the_command_uploads_with_the_key_of_the_environment(
    keyed: tuple["subprocess.Popen[str]", str, int, Path], tmp_path: Path
) -> None:
    _, url, _, models = keyed
    upload = ("upload", "mine", str(MODEL), "--url", url)
    done = command(*upload, QUANTSERVE_ADMIN_KEY="sesame-2")
    assert done.returncode == 0, done.stderr
    assert "stored version 1 (INT8 QDQ" in done.stdout
    assert (models / "mine/1/model.onnx").read_bytes() == MODEL.read_bytes()
    again = command(*upload, "--version", "1", QUANTSERVE_ADMIN_KEY="sesame-1")
    assert again.returncode == 1 and "(409)" in again.stderr and "version 1" in again.stderr
    file = tmp_path / "key"
    file.write_text("sesame-1\n")
    by_file = command("upload", "mine", str(MODEL), QUANTSERVE_URL=url,
                      QUANTSERVE_ADMIN_KEY="", QUANTSERVE_ADMIN_KEY_FILE=str(file))  # fmt: skip
    assert "version 2" in by_file.stdout
    for key in ("", "wrong", "predict-1"):
        refused = command(*upload, QUANTSERVE_ADMIN_KEY=key)
        assert refused.returncode == 1 and refused.stderr.count("\n") == 1
        assert not key or key not in refused.stderr


def test_the_command_reports_a_file_that_is_too_large_before_sending_it(
    keyed: tuple["subprocess.Popen[str]", str, int, Path], tmp_path: Path
) -> None:
    """The connection does not break after half of the file was sent."""
    large = tmp_path / "large.onnx"
    with large.open("wb") as file:
        file.truncate(2**26)
    done = command("upload", "big", str(large), "--url", keyed[1], QUANTSERVE_ADMIN_KEY="sesame-1")
    assert done.returncode == 1 and "(413)" in done.stderr and "limit is 300000" in done.stderr
    assert not (keyed[3] / "big").exists()


def test_the_command_reports_a_full_disk_during_the_upload(tmp_path: Path) -> None:
    patient = ("--body-timeout", str(PATIENCE))
    with small_disk(tmp_path, "8m"), started(tmp_path, {}, *patient) as (_, url, _):
        done = command("upload", "m", str(ROOT), "--url", url)
        assert done.returncode == 2 and "directory" in done.stderr
        large = tmp_path.parent / "large.onnx"
        large.write_bytes(bytes(2**26))
        done = command("upload", "m", str(large), "--url", url)
        assert done.returncode == 1 and "(507)" in done.stderr and "No space" in done.stderr
        assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        (("upload", "m", "absent.onnx"), "absent.onnx: No such file"),
        (("upload", "m", str(MODEL), "--url", "http://127.0.0.1:9"), "Connection refused"),
        (("swap", "m", "2", "--url", "http://127.0.0.1:9"), "Connection refused"),
        (("rollback", "m", "--url", "127.0.0.1:8000"), "expected http://host:port"),
    ],
)
def test_failed_commands_print_one_line_and_exit_with_2(
    arguments: tuple[str, ...], text: str
) -> None:
    done = command(*arguments)
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and text in done.stderr


@CURL.unless(shutil.which("curl"))
def test_curl_uploads(keyed: tuple["subprocess.Popen[str]", str, int, Path]) -> None:
    _, url, _, models = keyed
    place = f"{url}/admin/models/curled/versions"
    for how in (["-T", str(MODEL)], ["--data-binary", f"@{MODEL}"]):
        curl = ["curl", "-sS", "-m", str(PATIENCE), "-H", "X-API-Key: sesame-1", *how, place]
        done = subprocess.run(curl, capture_output=True, check=True)
        assert json.loads(done.stdout)["sha256"] == SHA256
    assert sorted(path.name for path in (models / "curled").iterdir()) == ["1", "2"]


def test_keys_are_never_shown(
    keyed: tuple["subprocess.Popen[str]", str, int, Path],
) -> None:
    process, _, port, _ = keyed
    raw(port, "GET /admin/models/m/versions HTTP/1.1\nHost: x\nX-API-Key: sesame-1")
    _, metrics = raw(port, "GET /metrics HTTP/1.1\nHost: x\nConnection: close", finish=True)
    status, denied = raw(port, "GET /admin/models/m/versions HTTP/1.1\nHost: x")
    assert status == 401
    shown = Path(f"/proc/{process.pid}/cmdline").read_bytes() + metrics + denied
    shown += command("serve", "--help", **KEYS).stdout.encode()
    misplaced = command("serve", "--admin-key=sesame-1")
    assert misplaced.returncode == 2 and "QUANTSERVE_ADMIN_KEY" in misplaced.stderr
    shown += misplaced.stderr.encode()
    for key in (b"sesame", b"predict-1"):
        assert key not in shown


def test_the_data_plane_requires_the_prediction_key(
    keyed: tuple["subprocess.Popen[str]", str, int, Path],
) -> None:
    port = keyed[2]
    infer = "POST /v2/models/mine/infer HTTP/1.1\nHost: x\nContent-Length: 2"
    assert raw(port, infer, b"{}")[0] == 401
    assert raw(port, f"{infer}\nX-API-Key: predict-2", b"{}")[0] == 401
    assert raw(port, f"{infer}\nX-API-Key: predict-1", b"{}")[0] not in (401, 403)
    assert raw(port, "GET /v2/health/live HTTP/1.1\nHost: x")[0] == 200


ATTACKS = [
    ("..%2f..%2fetc/versions", (404,)), ("%2e%2e/versions", (400,)), ("../../versions", (404,)),
    ("..%5c..%5cx/versions", (400,)), ("a%00b/versions", (400,)), ("%2e/versions", (400,)),
    (".git/versions", (400,)), ("-x/versions", (400,)), ("a%0ab/versions", (400,)),
    ("x" * 300 + "/versions", (400,)), ("m%EF%BC%8Fx/versions", (400,)),
    ("%D0%BC/versions", (400,)), ("%ff%fe/versions", (400,)), ("m/versions?version=-1", (400,)),
    ("m/versions?version=1%2f..%2f..", (422,)), ("m/versions?version=%D9%A1", (400, 422)),
    ("m/versions?version=1e3", (422,)), ("m/versions?version=" + "9" * 5000, (400, 422)),
]  # fmt: skip


@pytest.mark.parametrize(("path", "statuses"), ATTACKS)
def test_no_path_leaves_the_repository(
    open_: tuple[str, int, Path], path: str, statuses: tuple[int, ...]
) -> None:
    _, port, models = open_
    body = MODEL.read_bytes()
    head = f"POST /admin/models/{path} HTTP/1.1\nHost: localhost\nX-API-Key: {KEY}"
    head += f"\nContent-Length: {len(body)}"
    status, answer = raw(port, head, body)
    assert status in statuses, answer
    assert b"Traceback" not in answer and str(models).encode() not in answer
    assert list(models.iterdir()) == []
    assert not any((above / "etc").exists() for above in models.parents[:2])


PLACE = f"POST /admin/models/m/versions HTTP/1.1\nHost: 127.0.0.1\nX-API-Key: {KEY}"


@pytest.mark.parametrize("length", ["-1", "1e9", "+5", "0x10", "1, 2", "9" * 40, str(2**64)])
def test_an_invalid_content_length_stores_nothing(
    open_: tuple[str, int, Path], length: str
) -> None:
    status, _ = raw(open_[1], f"{PLACE}\nContent-Length: {length}", b"x" * 100)
    assert status in (400, 413)
    assert list(open_[2].iterdir()) == []


def test_a_body_shorter_than_announced_stores_nothing(open_: tuple[str, int, Path]) -> None:
    body = MODEL.read_bytes()
    raw(open_[1], f"{PLACE}\nContent-Length: {len(body) + 1}", body, finish=True)
    assert_empty_soon(open_)


def test_a_body_without_end_is_cut_off(open_: tuple[str, int, Path]) -> None:
    """By the size limit if data keeps arriving, by the silence timeout if it does not."""
    head = f"{PLACE}\nTransfer-Encoding: chunked"
    chunk = b"%x\r\n%s\r\n" % (2**16, bytes(2**16))
    status, answer = raw(open_[1], head, *[chunk] * 5)
    assert status == 413 and b"300000" in answer
    status, answer = raw(open_[1], head, chunk)
    assert status == 400 and b"stalled" in answer
    assert_empty_soon(open_)


def test_a_web_page_cannot_upload(open_: tuple[str, int, Path]) -> None:
    """Requests that a local proxy forwards for others are refused too: neither has a key."""
    keyless = PLACE.replace(f"\nX-API-Key: {KEY}", "")
    for header in ("Origin: http://evil.example", "Via: 1.1 proxy", "Accept: */*"):
        assert raw(open_[1], f"{keyless}\n{header}\nContent-Length: 1", b"x")[0] == 401
    rebound = keyless.replace("127.0.0.1", "rebound.example")
    assert raw(open_[1], f"{rebound}\nContent-Length: 1", b"x")[0] == 401
    assert list(open_[2].iterdir()) == []


def test_two_uploads_of_one_version_at_once_store_one(open_: tuple[str, int, Path]) -> None:
    body = MODEL.read_bytes()
    head = f"{PLACE.replace('/m/versions', '/two/versions?version=1')}\nContent-Length: {len(body)}"
    answers: list[int] = []

    def send() -> None:
        answers.append(raw(open_[1], head, body[:1000], body[1000:])[0])

    threads = [threading.Thread(target=send) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(answers) == [201, *[409] * 5]
    (stored,) = (open_[2] / "two").iterdir()
    assert (stored / "model.onnx").read_bytes() == body
    (stored / "model.onnx").unlink()
    stored.rmdir()
    stored.parent.rmdir()


@contextmanager
def half_sent(port: int) -> Iterator[None]:
    """An unfinished upload: the server waits for the rest."""
    with socket.create_connection(("127.0.0.1", port), PATIENCE) as line:
        head = f"{PLACE}\nContent-Length: 1000\nExpect: 100-continue\n\n"
        line.sendall(head.replace("\n", "\r\n").encode())
        assert b"100 Continue" in line.recv(100)
        line.sendall(b"half")
        yield


def test_a_killed_upload_is_cleaned_up_at_the_next_start(tmp_path: Path) -> None:
    with started(tmp_path, {}) as (process, _, port), half_sent(port):
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    assert len(list(tmp_path.glob("m/.upload-*"))) == 1
    with started(tmp_path, {}):
        assert list(tmp_path.iterdir()) == []


def test_stopping_the_server_ends_an_upload(tmp_path: Path) -> None:
    with (
        started(tmp_path, {}, "--shutdown-timeout", "1") as (process, _, port),
        half_sent(port),
    ):
        process.terminate()
        process.wait(PATIENCE)
    assert list(tmp_path.iterdir()) == []


def assert_empty_soon(server: tuple[str, int, Path]) -> None:
    """Wait until the folder is empty: the clean-up runs when the server notices the disconnect."""

    def empty() -> bool:
        raw(server[1], "GET /v2/health/live HTTP/1.1\nHost: x")
        return list(server[2].iterdir()) == []

    until(empty, "the folder of the upload has not gone away")
