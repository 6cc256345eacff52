"""System shared memory with Triton's own client: registered, read, written, shrunk, restarted."""

import os
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm
from tritonclient.http import InferenceServerClient, InferInput, InferRequestedOutput
from tritonclient.utils import InferenceServerException

from tests.patience import PATIENCE
from tests.repositories import put, scale
from tests.system.process import Running, running

X = np.array([[1, 5]], np.float32)
FLAG = ("--shared-memory", "qs-test-")


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shared")
    put(root, "m", 1, scale(2))
    put(root, "wide", 1, scale(2, width=2**20))
    return root


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[Running]:
    with running(models, *FLAG) as each:
        yield each


@pytest.fixture
def client(served: Running) -> Iterator[InferenceServerClient]:
    with InferenceServerClient(served.address) as each:
        yield each
        each.unregister_system_shared_memory()


@contextmanager
def region(name: str, size: int, prefix: str = "qs-test-") -> Iterator[Any]:
    """Shared memory of a client: its key is the prefix, this process and the name."""
    handle = shm.create_shared_memory_region(name, key(name, prefix), size, create_only=True)
    try:
        yield handle
    finally:
        shm.destroy_shared_memory_region(handle)


def key(name: str, prefix: str = "qs-test-") -> str:
    return f"{prefix}{os.getpid()}-{name}"


def asked(values: np.ndarray, name: str = "r", offset: int = 0) -> InferInput:
    tensor = InferInput("x", values.shape, "FP32")
    tensor.set_shared_memory(name, values.nbytes, offset)
    return tensor


def wanted(size: int, name: str = "r", offset: int = 0) -> InferRequestedOutput:
    output = InferRequestedOutput("y")
    output.set_shared_memory(name, size, offset)
    return output


def test_input_and_output_lie_in_shared_memory(client: InferenceServerClient) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X], offset=8)
        client.register_system_shared_memory("r", key("r"), 64)
        [status] = client.get_system_shared_memory_status()
        assert status == {"name": "r", "key": key("r"), "offset": 0, "byte_size": 64}
        assert client.get_system_shared_memory_status("r") == [status]
        result = client.infer("m", [asked(X, offset=8)], outputs=[wanted(8, offset=32)])
        output = result.get_output("y")
        assert output["parameters"] == {
            "shared_memory_region": "r",
            "shared_memory_byte_size": 8,
            "shared_memory_offset": 32,
        }
        assert "data" not in output and output["shape"] == [1, 2]
        found = shm.get_contents_as_numpy(handle, np.float32, [1, 2], offset=32)
        assert found.tolist() == [[2, 10]]
        # One of both in the message.
        direct = client.infer("m", [asked(X, offset=8)])
        assert direct.as_numpy("y").tolist() == [[2, 10]]
        plain = InferInput("x", X.shape, "FP32")
        plain.set_data_from_numpy(X * 3)
        client.infer("m", [plain], outputs=[wanted(8)])
        assert shm.get_contents_as_numpy(handle, np.float32, [1, 2]).tolist() == [[6, 30]]
        client.unregister_system_shared_memory("r")
        assert client.get_system_shared_memory_status() == []
        with pytest.raises(InferenceServerException, match='no shared memory region "r"'):
            client.infer("m", [asked(X)])


def test_a_region_of_an_offset_begins_there(client: InferenceServerClient) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X], offset=40)
        client.register_system_shared_memory("r", key("r"), 24, offset=40)
        assert client.infer("m", [asked(X)]).as_numpy("y").tolist() == [[2, 10]]
        with pytest.raises(InferenceServerException, match="are not in region"):
            client.infer("m", [asked(X, offset=24)])


def test_large_tensors_come_and_go(client: InferenceServerClient) -> None:
    values = np.arange(2**20, dtype=np.float32).reshape(1, -1)
    with region("r", 2 * values.nbytes) as handle:
        shm.set_shared_memory_region(handle, [values])
        client.register_system_shared_memory("r", key("r"), 2 * values.nbytes)
        output = wanted(values.nbytes, offset=values.nbytes)
        for _ in range(3):
            client.infer("wide", [asked(values)], outputs=[output])
        shape = list(values.shape)
        found = shm.get_contents_as_numpy(handle, np.float32, shape, offset=values.nbytes)
        assert np.array_equal(found, values * 2)


@pytest.mark.parametrize("size", [0, 4, 63])
def test_a_region_that_shrinks_is_a_400_and_no_signal(
    served: Running, client: InferenceServerClient, size: int
) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X], offset=56)
        client.register_system_shared_memory("r", key("r"), 64)
        os.truncate(f"/dev/shm/{key('r')}", size)
        with pytest.raises(InferenceServerException, match="has become smaller") as error:
            client.infer("m", [asked(X, offset=56)])
        assert error.value.status() == "400"
        plain = InferInput("x", X.shape, "FP32")
        plain.set_data_from_numpy(X)
        with pytest.raises(InferenceServerException, match="has become smaller"):
            client.infer("m", [plain], outputs=[wanted(8, offset=56)])
        assert Path(f"/dev/shm/{key('r')}").stat().st_size == size
        assert served.process.poll() is None
        os.truncate(f"/dev/shm/{key('r')}", 64)
        assert client.infer("m", [plain]).as_numpy("y").tolist() == [[2, 10]]


def test_what_does_not_fit_is_a_400(client: InferenceServerClient) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X])
        client.register_system_shared_memory("r", key("r"), 64)
        for output, why in ((wanted(4), "has 8 bytes"), (wanted(8, offset=60), "not in region")):
            with pytest.raises(InferenceServerException, match=why):
                client.infer("m", [asked(X)], outputs=[output])
        wrong = InferInput("x", [1, 3], "FP32")
        wrong.set_shared_memory("r", 8)
        with pytest.raises(InferenceServerException, match="needs 12"):
            client.infer("m", [wrong])


def test_other_shared_memory_cannot_be_registered(client: InferenceServerClient) -> None:
    with (
        region("r", 64, "other-"),
        pytest.raises(InferenceServerException, match='keys begin with "qs-test-"'),
    ):
        client.register_system_shared_memory("r", key("r", "other-"), 64)
    for bad in ("qs-test-/../../etc/passwd", "../qs-test-", ""):
        with pytest.raises(InferenceServerException, match="cannot be the key"):
            client.register_system_shared_memory("r", bad, 64)
    with pytest.raises(InferenceServerException, match="No such file"):
        client.register_system_shared_memory("r", "qs-test-absent", 64)
    link = Path(f"/dev/shm/{key('link')}")
    link.symlink_to("/etc/hostname")
    try:
        with pytest.raises(InferenceServerException, match="shared memory .*link"):
            client.register_system_shared_memory("r", link.name, 1)
    finally:
        link.unlink()


def test_a_server_without_the_flag_refuses(models: Path) -> None:
    with running(models) as plain, InferenceServerClient(plain.address) as client:
        with region("r", 64), pytest.raises(InferenceServerException, match="--shared-memory"):
            client.register_system_shared_memory("r", key("r"), 64)
        for outputs in (None, [wanted(8)]):
            with pytest.raises(InferenceServerException, match="--shared-memory"):
                client.infer("m", [asked(X)], outputs=outputs)


def test_all_workers_know_a_region_also_one_that_is_replaced(models: Path) -> None:
    with (
        running(models, *FLAG, "--workers", "2", supervised=True) as served,
        region("r", 64) as handle,
    ):
        shm.set_shared_memory_region(handle, [X])
        with InferenceServerClient(served.address) as client:
            client.register_system_shared_memory("r", key("r"), 64)
            with pytest.raises(InferenceServerException, match="is registered"):
                client.register_system_shared_memory("r", key("r"), 64)
        answered(served, 8)
        os.kill(worker_of(served), signal.SIGKILL)
        time.sleep(0.5)
        answered(served, 16)
        with InferenceServerClient(served.address) as client:
            client.unregister_system_shared_memory("r")
        for _ in range(8):
            with InferenceServerClient(served.address) as client:
                assert client.get_system_shared_memory_status() == []


def answered(served: Running, times: int) -> None:
    """Ask over connections of their own, which are shared out among the workers."""
    until = time.monotonic() + PATIENCE
    while times:
        with InferenceServerClient(served.address) as client:
            try:
                found = client.infer("m", [asked(X)]).as_numpy("y")
            except (OSError, InferenceServerException) as error:
                gone = isinstance(error, OSError) or "shared memory" not in str(error)
                assert gone and time.monotonic() < until, error
                continue
            assert found.tolist() == [[2, 10]]
            times -= 1


def worker_of(served: Running) -> int:
    """The process id of one of the workers."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text()
    pids = [int(each) for each in children.split()]
    assert len(pids) >= 2
    return pids[-1]
