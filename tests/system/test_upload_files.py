"""A model and its external data, sent to a real server: with the upload command, with curl, and
by clients that disconnect, send false data or send too much."""

import gzip
import io
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import threading
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import onnx
import pytest
from onnx import helper, numpy_helper

from tests.parts import CURL, SMALL_DISK, TAR
from tests.patience import until
from tests.system.process import KEY, ROOT, Running, running

CLIENT = httpx.Client(headers={"X-API-Key": KEY}, timeout=60)
LIMIT = 2**27
FLAGS = ("--log-level", "error", "--body-timeout", "2", "--max-upload-bytes", str(LIMIT))


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a model that multiplies by 2, and the file of its weights."""
    weights = numpy_helper.from_array(2 * np.eye(64, dtype=np.float32), "w")
    sides = [helper.make_tensor_value_info(name, 1, ["n", 64]) for name in "xy"]
    node = helper.make_node("MatMul", ["x", "w"], ["y"])
    graph = helper.make_graph([node], "g", sides[:1], sides[1:], [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    folder = tmp_path_factory.mktemp("source")
    onnx.save(
        model, folder / "model.onnx", save_as_external_data=True, location="model.onnx.data",
        size_threshold=0,
    )  # fmt: skip
    return folder


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("repository")


@pytest.fixture(scope="module")
def open_(repository: Path) -> Iterator[Running]:
    with running(repository, *FLAGS) as server:
        yield server


def place(server: Running, model: str, query: str = "") -> str:
    return f"http://{server.address}/admin/models/{model}/versions{query}"


def shell(command: str, folder: Path) -> str:
    CURL.need(shutil.which("curl"))
    TAR.need(shutil.which("tar"))
    shown = {"KEY": f"X-API-Key: {KEY}", "QUANTSERVE_ADMIN_KEY": KEY}
    done = subprocess.run(["sh", "-c", command], cwd=folder, capture_output=True, text=True,
                          timeout=60, env={**os.environ, **shown})  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def tar(files: dict[str, bytes]) -> bytes:
    target = io.BytesIO()
    with tarfile.open(fileobj=target, mode="w") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return target.getvalue()


def contents(folder: Path) -> dict[str, bytes]:
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_the_command_uploads_external_data_and_the_model_serves(
    open_: Running, repository: Path, source: Path
) -> None:
    for verb in (["upload", "sent", str(source / "model.onnx")], ["swap", "sent", "1"]):
        command = [sys.executable, "-m", "service", *verb, "--url", f"http://{open_.address}"]
        environment = {**os.environ, "QUANTSERVE_ADMIN_KEY": KEY}
        done = subprocess.run(
            command, cwd=ROOT, capture_output=True, text=True, timeout=60, env=environment
        )
        assert done.returncode == 0, done.stderr
        assert verb[0] != "upload" or "version 1 (FP32, 0.02 MB, 2 files)" in done.stdout
    assert contents(repository / "sent/1") == contents(source)
    tensor = {"name": "x", "shape": [1, 64], "datatype": "FP32", "data": list(range(64))}
    answer = httpx.post(f"http://{open_.address}/v2/models/sent/infer", json={"inputs": [tensor]})
    assert answer.json()["outputs"][0]["data"] == [2 * n for n in range(64)]


def test_the_documented_commands_work(open_: Running, repository: Path, source: Path) -> None:
    text = (ROOT / "docs/versions.md").read_text()
    lines = re.findall(r"^(?:curl .*-F|tar -c)(?:.*\\\n)*.*$", text, re.M)
    assert len(lines) == 2
    for number, line in enumerate(lines, 1):
        line = line.replace("127.0.0.1:8000", open_.address).replace("/digits/", "/readme/")
        assert json.loads(shell(line, source))["version"] == number
        assert contents(repository / f"readme/{number}") == contents(source)


def test_the_command_in_the_refusal_works(open_: Running, repository: Path, source: Path) -> None:
    model = (source / "model.onnx").read_bytes()
    refused = CLIENT.put(place(open_, "told", "?version=7"), content=model)
    assert refused.status_code == 400
    _, _, command = refused.json()["error"].partition("send all files at once: ")
    assert json.loads(shell(command, source))["version"] == 7
    assert contents(repository / "told/7") == contents(source)


def test_a_folder_is_uploaded_as_a_tar_archive(
    open_: Running, repository: Path, source: Path
) -> None:
    where = place(open_, "folder")
    send = f"curl -sS -T - -H 'Content-Type: application/x-tar' -H \"$KEY\" {where}"
    assert json.loads(shell(f"tar -C . -cf - . | {send}", source))["version"] == 1
    assert contents(repository / "folder/1") == contents(source)


def test_concurrent_uploads_of_one_version_store_one(
    open_: Running, repository: Path, source: Path
) -> None:
    statuses: list[int] = []
    ready = threading.Barrier(4)

    def send() -> None:
        files = [("file", (name, data)) for name, data in contents(source).items()]
        ready.wait()
        address = place(open_, "two", "?version=1")
        statuses.append(CLIENT.post(address, files=files, timeout=60).status_code)

    threads = [threading.Thread(target=send) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(statuses) == [201, 409, 409, 409]
    assert contents(repository / "two") == {f"1/{k}": v for k, v in contents(source).items()}


LINK = tarfile.TarInfo("w")
LINK.type, LINK.linkname = tarfile.SYMTYPE, "/etc/passwd"
FOLDER = tarfile.TarInfo("d")
FOLDER.type = tarfile.DIRTYPE
BOMB = gzip.compress(bytes(LIMIT + 2**25), 1)
ATTACKS = {
    "a link": (LINK.tobuf(), "application/x-tar", 400),
    "a path": (tar({"../../x": b"x"}), "application/x-tar", 400),
    "a bomb": (BOMB, "application/gzip", 413),
    "a file that is a bomb": (gzip.compress(tar({"w": bytes(LIMIT + 1)}), 1), "application/gzip",
                              413),
    "nothing": (b"", "application/x-tar", 400),
    "many folders": (FOLDER.tobuf() * 20_000, "application/x-tar", 413),
    "no end": (b"--b\r\nContent-Disposition: form-data; name=a; filename=w\r\n\r\nx",
               "multipart/form-data; boundary=b", 400),
    "a header of a megabyte": (b"--b\r\nX: " + bytes(2**20), "multipart/form-data; boundary=b",
                               413),
}  # fmt: skip


@pytest.mark.parametrize(("body", "kind", "status"), ATTACKS.values(), ids=ATTACKS.keys())
def test_an_attack_is_refused_and_leaves_nothing(
    open_: Running, repository: Path, body: bytes, kind: str, status: int
) -> None:
    answer = CLIENT.post(
        place(open_, "attack"), content=body, headers={"content-type": kind}, timeout=60
    )
    assert answer.status_code == status, answer.text
    assert set(answer.json()) == {"error"} and "Traceback" not in answer.text
    assert not (repository / "attack").exists()


def peak_bytes(server: Running) -> int:
    found = re.search(
        r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text()
    )  # fmt: skip
    assert found
    return int(found[1]) * 1024


@pytest.mark.parametrize("packed", [False, True])
def test_an_upload_is_not_held_in_memory(open_: Running, repository: Path, packed: bool) -> None:
    body, kind = tar({"w": bytes(LIMIT - 2**20)}), "application/x-tar"
    if packed:
        body, kind = gzip.compress(body, 1), "application/gzip"
    before = peak_bytes(open_)
    answer = CLIENT.post(
        place(open_, "large"), content=body, headers={"content-type": kind}, timeout=60
    )
    assert answer.status_code == 400 and "no model.onnx" in answer.text
    assert peak_bytes(open_) - before < LIMIT / 3
    assert not (repository / "large").exists()


def half_sent(port: int, source: Path) -> socket.socket:
    """An unfinished form upload: the server has the model and half of the weights."""
    line = socket.create_connection(("127.0.0.1", port), 20)
    head = ("POST /admin/models/half/versions HTTP/1.1\nHost: 127.0.0.1\nContent-Length: 99999999\n"
            f"X-API-Key: {KEY}\n"
            "Content-Type: multipart/form-data; boundary=b\nExpect: 100-continue\n\n")  # fmt: skip
    line.sendall(head.replace("\n", "\r\n").encode())
    assert b"100 Continue" in line.recv(100)
    for name, size in (("model.onnx", None), ("model.onnx.data", 5000)):
        disposition = f'Content-Disposition: form-data; name="f"; filename="{name}"'
        line.sendall(f"--b\r\n{disposition}\r\n\r\n".encode())
        line.sendall((source / name).read_bytes()[:size] + (b"" if size else b"\r\n"))
    return line


def test_a_disconnect_during_the_second_file_leaves_nothing(
    open_: Running, repository: Path, source: Path
) -> None:
    half_sent(open_.port, source).close()
    for _ in range(200):
        httpx.get(f"http://{open_.address}/v2/health/live")
        if not (repository / "half").exists():
            return
    raise AssertionError(contents(repository / "half"))


def test_silence_during_the_second_file_times_out(
    open_: Running, repository: Path, source: Path
) -> None:
    with half_sent(open_.port, source) as line:
        answer = b""
        while part := line.recv(65536):  # head and body may come apart
            answer += part
    assert answer.startswith(b"HTTP/1.1 400") and b"stalled" in answer
    assert not (repository / "half").exists()


def test_a_killed_server_removes_the_unfinished_upload_at_its_next_start(
    tmp_path: Path, source: Path
) -> None:
    with running(tmp_path, code=-signal.SIGKILL) as server, half_sent(server.port, source):
        until(lambda: list(tmp_path.glob("half/.upload-*/model.onnx")))
        server.process.kill()
        server.process.wait(60)
    assert len(list(tmp_path.glob("half/.upload-*/model.onnx"))) == 1
    with running(tmp_path):
        assert list(tmp_path.iterdir()) == []


def test_a_full_disk_during_the_second_file_leaves_nothing(tmp_path: Path, source: Path) -> None:
    mount = ["mount", "-t", "tmpfs", "-o", "size=8m", "tmpfs", str(tmp_path)]
    may = not os.geteuid() and not subprocess.run(mount, capture_output=True).returncode
    SMALL_DISK.need(may)
    try:
        with running(tmp_path) as server:
            model = (source / "model.onnx").read_bytes()
            files = [("file", ("model.onnx", model)),
                     ("file", ("model.onnx.data", bytes(2**24)))]  # fmt: skip
            answer = CLIENT.post(place(server, "full"), files=files, timeout=60)
            assert answer.status_code == 507 and "No space left" in answer.json()["error"]
            assert list(tmp_path.iterdir()) == []
    finally:
        subprocess.run(["umount", str(tmp_path)], check=True)
