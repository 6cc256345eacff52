"""System shared memory with Triton's own clients, over HTTP and gRPC: registered, read, written,
shrunk, restarted."""

import os
import queue
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple

import numpy as np
import pytest
import tritonclient.grpc
import tritonclient.http
import tritonclient.utils.shared_memory as shm
from google.protobuf.json_format import MessageToDict
from tritonclient.utils import InferenceServerException

from tests.patience import PATIENCE
from tests.repositories import put, scale
from tests.system.process import Running, running
from tests.system.wire import free_port

X = np.array([[1, 5]], np.float32)
FLAG = ("--shared-memory", "qs-test-")
MODULES = [tritonclient.http, tritonclient.grpc]


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shared")
    put(root, "m", 1, scale(2))
    put(root, "wide", 1, scale(2, width=2**20))
    return root


class Client(NamedTuple):
    """A client by one of the two ways, and its module."""

    module: ModuleType
    client: Any

    def asked(self, values: np.ndarray, name: str = "r", offset: int = 0) -> Any:
        """An input that lies in a region."""
        tensor = self.module.InferInput("x", list(values.shape), "FP32")
        tensor.set_shared_memory(name, values.nbytes, offset)
        return tensor

    def wanted(self, size: int, name: str = "r", offset: int = 0) -> Any:
        """An output that goes to a region."""
        output = self.module.InferRequestedOutput("y")
        output.set_shared_memory(name, size, offset)
        return output

    def plain(self, values: np.ndarray) -> Any:
        """An input in the message."""
        tensor = self.module.InferInput("x", list(values.shape), "FP32")
        tensor.set_data_from_numpy(values)
        return tensor

    def status(self, name: str = "") -> list[dict[str, Any]]:
        """The regions, as they are told over HTTP."""
        told = self.client.get_system_shared_memory_status(name)
        if self.module is tritonclient.http:
            return list(told)
        found = [told.regions[each] for each in sorted(told.regions)]
        fields = ("name", "key", "offset", "byte_size")
        return [{field: getattr(each, field) for field in fields} for each in found]

    def told(self, output: Any) -> dict[str, Any]:
        """An output as it is told over HTTP."""
        if self.module is tritonclient.http:
            return dict(output)
        found: dict[str, Any] = MessageToDict(output, preserving_proto_field_name=True)
        parameters = found.get("parameters", {}).items()
        values = {name: list(each.values())[0] for name, each in parameters}
        whole = {name: int(v) if v.isdigit() else v for name, v in values.items()}  # 64 bits: text
        return found | {"parameters": whole, "shape": [int(each) for each in found["shape"]]}

    def refused(self, error: InferenceServerException) -> bool:
        """Whether the request was at fault."""
        bad = {tritonclient.http: "400", tritonclient.grpc: "StatusCode.INVALID_ARGUMENT"}
        return error.status() == bad[self.module]


Addresses = dict[ModuleType, str]


@contextmanager
def serving(models: Path, *flags: str, workers: int = 1) -> Iterator[tuple[Running, Addresses]]:
    """A server, and its addresses by the module of their client."""
    port = free_port()
    flags = (*flags, "--grpc-port", str(port), "--workers", str(workers))
    with running(models, *flags, supervised=workers > 1) as served:
        yield served, {tritonclient.http: served.address, tritonclient.grpc: f"127.0.0.1:{port}"}


@contextmanager
def connected(module: ModuleType, addresses: Addresses) -> Iterator[Client]:
    with module.InferenceServerClient(addresses[module]) as client:
        yield Client(module, client)


@pytest.fixture(scope="module")
def served(models: Path) -> Iterator[tuple[Running, Addresses]]:
    with serving(models, *FLAG) as found:
        yield found


@pytest.fixture(params=MODULES, ids=["http", "grpc"])
def module(request: Any) -> ModuleType:
    found: ModuleType = request.param
    return found


@pytest.fixture
def asking(module: ModuleType, served: tuple[Running, Addresses]) -> Iterator[Client]:
    with connected(module, served[1]) as found:
        yield found
        found.client.unregister_system_shared_memory()


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


def test_input_and_output_lie_in_shared_memory(asking: Client) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X], offset=8)
        asking.client.register_system_shared_memory("r", key("r"), 64)
        [status] = asking.status()
        assert status == {"name": "r", "key": key("r"), "offset": 0, "byte_size": 64}
        assert asking.status("r") == [status]
        wanted = [asking.wanted(8, offset=32)]
        result = asking.client.infer("m", [asking.asked(X, offset=8)], outputs=wanted)
        assert asking.told(result.get_output("y")) == {
            "name": "y",
            "datatype": "FP32",
            "shape": [1, 2],
            "parameters": {
                "shared_memory_region": "r",
                "shared_memory_byte_size": 8,
                "shared_memory_offset": 32,
            },
        }
        found = shm.get_contents_as_numpy(handle, np.float32, [1, 2], offset=32)
        assert found.tolist() == [[2, 10]]
        # One of both in the message.
        direct = asking.client.infer("m", [asking.asked(X, offset=8)])
        assert direct.as_numpy("y").tolist() == [[2, 10]]
        asking.client.infer("m", [asking.plain(X * 3)], outputs=[asking.wanted(8)])
        assert shm.get_contents_as_numpy(handle, np.float32, [1, 2]).tolist() == [[6, 30]]
        asking.client.unregister_system_shared_memory("r")
        assert asking.status() == []
        with pytest.raises(InferenceServerException, match='no shared memory region "r"'):
            asking.client.infer("m", [asking.asked(X)])


def test_a_region_of_an_offset_begins_there(asking: Client) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X], offset=40)
        asking.client.register_system_shared_memory("r", key("r"), 24, offset=40)
        assert asking.client.infer("m", [asking.asked(X)]).as_numpy("y").tolist() == [[2, 10]]
        with pytest.raises(InferenceServerException, match="are not in region"):
            asking.client.infer("m", [asking.asked(X, offset=24)])


def test_large_tensors_come_and_go(asking: Client) -> None:
    values = np.arange(2**20, dtype=np.float32).reshape(1, -1)
    with region("r", 2 * values.nbytes) as handle:
        shm.set_shared_memory_region(handle, [values])
        asking.client.register_system_shared_memory("r", key("r"), 2 * values.nbytes)
        output = asking.wanted(values.nbytes, offset=values.nbytes)
        for _ in range(3):
            asking.client.infer("wide", [asking.asked(values)], outputs=[output])
        shape = list(values.shape)
        found = shm.get_contents_as_numpy(handle, np.float32, shape, offset=values.nbytes)
        assert np.array_equal(found, values * 2)


@pytest.mark.parametrize("size", [0, 4, 63])
def test_a_region_that_shrinks_is_a_400_and_no_signal(
    served: tuple[Running, Addresses], asking: Client, size: int
) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X], offset=56)
        asking.client.register_system_shared_memory("r", key("r"), 64)
        os.truncate(f"/dev/shm/{key('r')}", size)
        with pytest.raises(InferenceServerException, match="has become smaller") as error:
            asking.client.infer("m", [asking.asked(X, offset=56)])
        assert asking.refused(error.value)
        plain = asking.plain(X)
        with pytest.raises(InferenceServerException, match="has become smaller"):
            asking.client.infer("m", [plain], outputs=[asking.wanted(8, offset=56)])
        assert Path(f"/dev/shm/{key('r')}").stat().st_size == size
        assert served[0].process.poll() is None
        os.truncate(f"/dev/shm/{key('r')}", 64)
        assert asking.client.infer("m", [plain]).as_numpy("y").tolist() == [[2, 10]]


def test_what_does_not_fit_is_a_400(asking: Client) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X])
        asking.client.register_system_shared_memory("r", key("r"), 64)
        bad = ((asking.wanted(4), "has 8 bytes"), (asking.wanted(8, offset=60), "not in region"))
        for output, why in bad:
            with pytest.raises(InferenceServerException, match=why):
                asking.client.infer("m", [asking.asked(X)], outputs=[output])
        wrong = asking.module.InferInput("x", [1, 3], "FP32")
        wrong.set_shared_memory("r", 8)
        with pytest.raises(InferenceServerException, match="needs 12"):
            asking.client.infer("m", [wrong])


def test_other_shared_memory_cannot_be_registered(asking: Client) -> None:
    with (
        region("r", 64, "other-"),
        pytest.raises(InferenceServerException, match='keys begin with "qs-test-"'),
    ):
        asking.client.register_system_shared_memory("r", key("r", "other-"), 64)
    for bad in ("qs-test-/../../etc/passwd", "../qs-test-", ""):
        with pytest.raises(InferenceServerException, match="cannot be the key"):
            asking.client.register_system_shared_memory("r", bad, 64)
    with pytest.raises(InferenceServerException, match="No such file"):
        asking.client.register_system_shared_memory("r", "qs-test-absent", 64)
    link = Path(f"/dev/shm/{key('link')}")
    link.symlink_to("/etc/hostname")
    try:
        with pytest.raises(InferenceServerException, match="shared memory .*link"):
            asking.client.register_system_shared_memory("r", link.name, 1)
    finally:
        link.unlink()


def test_a_stream_reads_and_writes_regions(served: tuple[Running, Addresses]) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with region("r", 64) as handle, connected(tritonclient.grpc, served[1]) as asking:
        shm.set_shared_memory_region(handle, [X])
        asking.client.register_system_shared_memory("r", key("r"), 64)
        asking.client.start_stream(lambda result, error: answers.put((result, error)))
        asking.client.async_stream_infer("m", [asking.asked(X)], outputs=[asking.wanted(8, "r", 8)])
        asking.client.async_stream_infer("m", [asking.asked(X, offset=60)])
        result, error = answers.get(timeout=PATIENCE)
        assert error is None and result.get_output("y").parameters
        assert shm.get_contents_as_numpy(handle, np.float32, [1, 2], offset=8).tolist() == [[2, 10]]
        result, error = answers.get(timeout=PATIENCE)
        assert "are not in region" in str(error)
        asking.client.stop_stream()
        asking.client.unregister_system_shared_memory()


def test_a_region_is_known_to_both_protocols(served: tuple[Running, Addresses]) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X])
        for here, there in (MODULES, MODULES[::-1]):
            with connected(here, served[1]) as one, connected(there, served[1]) as other:
                one.client.register_system_shared_memory("r", key("r"), 64)
                assert other.client.infer("m", [other.asked(X)]).as_numpy("y").tolist() == [[2, 10]]
                other.client.unregister_system_shared_memory("r")
                assert one.status() == []


def test_a_server_without_the_flag_refuses(models: Path, module: ModuleType) -> None:
    with serving(models) as (_, addresses), connected(module, addresses) as asking:
        with region("r", 64), pytest.raises(InferenceServerException, match="--shared-memory"):
            asking.client.register_system_shared_memory("r", key("r"), 64)
        with pytest.raises(InferenceServerException, match="--shared-memory"):
            asking.client.infer("m", [asking.asked(X)])
        with pytest.raises(InferenceServerException, match="--shared-memory"):
            asking.client.infer("m", [asking.plain(X)], outputs=[asking.wanted(8)])


def test_all_workers_know_a_region_also_one_that_is_replaced(
    models: Path, module: ModuleType
) -> None:
    with (
        serving(models, *FLAG, workers=2) as (served, addresses),
        region("r", 64) as handle,
    ):
        shm.set_shared_memory_region(handle, [X])
        with connected(module, addresses) as asking:
            asking.client.register_system_shared_memory("r", key("r"), 64)
            with pytest.raises(InferenceServerException, match="is registered"):
                asking.client.register_system_shared_memory("r", key("r"), 64)
        answered(module, addresses, 8)
        os.kill(worker_of(served), signal.SIGKILL)
        time.sleep(0.5)
        answered(module, addresses, 16)
        with connected(module, addresses) as asking:
            asking.client.unregister_system_shared_memory("r")
        for _ in range(8):
            with connected(module, addresses) as asking:
                assert asking.status() == []


def answered(module: ModuleType, addresses: Addresses, times: int) -> None:
    """Ask over connections of their own, which are shared out among the workers."""
    until = time.monotonic() + PATIENCE
    while times:
        with connected(module, addresses) as asking:
            try:
                found = asking.client.infer("m", [asking.asked(X)]).as_numpy("y")
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
