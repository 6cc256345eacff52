"""System shared memory with Triton's clients, over HTTP and gRPC, with one worker and with two:
regions are registered, read, written, shrunk, and kept over a restart of a worker."""

import os
import queue
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import pytest
import tritonclient.utils.shared_memory as shm
from tritonclient.utils import InferenceServerException, serialize_byte_tensor

from tests import tiny_models
from tests.patience import PATIENCE
from tests.repositories import put, scale
from tests.system.clients import Client, connected
from tests.system.process import Running, running
from tests.system.wire import free_port

X = np.array([[1, 5]], np.float32)
FLAG = ("--shared-memory", "qs-test-")
OTHER = {"http": "grpc", "grpc": "http"}
WORDS = {400: "INVALID_ARGUMENT", 403: "PERMISSION_DENIED", 404: "NOT_FOUND",
         409: "ALREADY_EXISTS", 501: "UNIMPLEMENTED"}  # fmt: skip


class Served(NamedTuple):
    """A server, and its address for each protocol."""

    server: Running
    addresses: dict[str, str]


@contextmanager
def serving(models: Path, *flags: str, workers: int = 1) -> Iterator[Served]:
    port = free_port()
    more = ["--grpc-port", str(port), "--workers", str(workers)]
    with running(models, *flags, *more, supervised=workers > 1) as server:
        yield Served(server, {"http": server.address, "grpc": f"127.0.0.1:{port}"})


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("shared")
    put(root, "m", 1, scale(2))
    put(root, "wide", 1, scale(2, width=2**20))
    tiny_models.identity(root, "BYTES")
    return root


@pytest.fixture(scope="module", params=[1, 2])
def served(request: Any, models: Path) -> Iterator[Served]:
    with serving(models, *FLAG, workers=request.param) as each:
        yield each


@pytest.fixture(params=["http", "grpc"])
def protocol(request: Any) -> str:
    return str(request.param)


@pytest.fixture
def asking(served: Served, protocol: str) -> Iterator[Client]:
    with connected(protocol, served.addresses[protocol]) as each:
        yield each
        each.client.unregister_system_shared_memory()


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


def asked(asking: Client, values: np.ndarray, name: str = "r", offset: int = 0) -> Any:
    tensor = asking.module.InferInput("x", values.shape, "FP32")
    tensor.set_shared_memory(name, values.nbytes, offset)
    return tensor


def wanted(asking: Client, size: int, name: str = "r", offset: int = 0) -> Any:
    output = asking.module.InferRequestedOutput("y")
    output.set_shared_memory(name, size, offset)
    return output


def regions(asking: Client, name: str = "") -> list[dict[str, Any]]:
    """Return the registered regions, with numbers as numbers."""
    told = asking.told(asking.client.get_system_shared_memory_status(name))
    found = told if asking.json else list(told.get("regions", {}).values())
    return [
        {**each, "offset": int(each.get("offset", 0)), "byte_size": int(each["byte_size"])}
        for each in found
    ]


@contextmanager
def refused(asking: Client, text: str, status: int) -> Iterator[None]:
    """Expect an error with the status of the protocol."""
    with pytest.raises(InferenceServerException, match=text) as error:
        yield
    expected = str(status) if asking.json else f"StatusCode.{WORDS[status]}"
    assert error.value.status() == expected


def test_inputs_and_outputs_in_shared_memory(asking: Client) -> None:
    client = asking.client
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X], offset=8)
        client.register_system_shared_memory("r", key("r"), 64)
        [status] = regions(asking)
        assert status == {"name": "r", "key": key("r"), "offset": 0, "byte_size": 64}
        assert regions(asking, "r") == [status]
        there = asked(asking, X, offset=8)
        result = client.infer("m", [there], outputs=[wanted(asking, 8, offset=32)])
        output = asking.told(result.get_output("y"))
        told = output["parameters"]
        if not asking.json:
            told = {name: next(iter(value.values())) for name, value in told.items()}
        assert {name: str(value) for name, value in told.items()} == {
            "shared_memory_region": "r",
            "shared_memory_byte_size": "8",
            "shared_memory_offset": "32",
        }
        assert "data" not in output and [int(each) for each in output["shape"]] == [1, 2]
        found = shm.get_contents_as_numpy(handle, np.float32, [1, 2], offset=32)
        assert found.tolist() == [[2, 10]]
        # One of both in the message.
        assert client.infer("m", [there]).as_numpy("y").tolist() == [[2, 10]]
        client.infer("m", [asking.given("x", X * 3, "FP32")], outputs=[wanted(asking, 8)])
        assert shm.get_contents_as_numpy(handle, np.float32, [1, 2]).tolist() == [[6, 30]]
        client.unregister_system_shared_memory("r")
        assert regions(asking) == []
        with refused(asking, 'no shared memory region "r"', 400):
            client.infer("m", [asked(asking, X)])
        with refused(asking, 'no shared memory region "r"', 404):
            regions(asking, "r")


def test_regions_are_shared_between_the_protocols(
    served: Served, protocol: str, asking: Client
) -> None:
    with (
        region("r", 64) as handle,
        connected(OTHER[protocol], served.addresses[OTHER[protocol]]) as other,
    ):
        shm.set_shared_memory_region(handle, [X])
        other.client.register_system_shared_memory("r", key("r"), 64)
        assert regions(asking) == regions(other) and regions(asking, "r")
        with refused(asking, "is registered", 409):
            asking.client.register_system_shared_memory("r", key("r"), 64)
        assert asking.client.infer("m", [asked(asking, X)]).as_numpy("y").tolist() == [[2, 10]]
        asking.client.unregister_system_shared_memory("r")
        assert regions(other) == []


def test_a_region_may_begin_at_an_offset(asking: Client) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X], offset=40)
        asking.client.register_system_shared_memory("r", key("r"), 24, offset=40)
        assert asking.client.infer("m", [asked(asking, X)]).as_numpy("y").tolist() == [[2, 10]]
        with refused(asking, "are not in region", 400):
            asking.client.infer("m", [asked(asking, X, offset=24)])


def test_strings_in_shared_memory(asking: Client) -> None:
    with region("r", 64) as handle:
        words = np.array([["é".encode(), b"ab"]], np.object_)
        shm.set_shared_memory_region(handle, [serialize_byte_tensor(words)])
        asking.client.register_system_shared_memory("r", key("r"), 64)
        tensor = asking.module.InferInput("x", [1, 2], "BYTES")
        tensor.set_shared_memory("r", 12)
        output = wanted(asking, 32, offset=32)
        asking.client.infer("same_bytes", [tensor], outputs=[output])
        found = shm.get_contents_as_numpy(handle, np.object_, [1, 2], offset=32)
        assert found.tolist() == words.tolist()


def test_large_tensors_in_shared_memory(asking: Client) -> None:
    values = np.arange(2**20, dtype=np.float32).reshape(1, -1)
    with region("r", 2 * values.nbytes) as handle:
        shm.set_shared_memory_region(handle, [values])
        asking.client.register_system_shared_memory("r", key("r"), 2 * values.nbytes)
        output = wanted(asking, values.nbytes, offset=values.nbytes)
        for _ in range(3):
            asking.client.infer("wide", [asked(asking, values)], outputs=[output])
        shape = list(values.shape)
        found = shm.get_contents_as_numpy(handle, np.float32, shape, offset=values.nbytes)
        assert np.array_equal(found, values * 2)


@pytest.mark.parametrize("size", [0, 4, 63])
def test_a_region_that_shrinks_is_refused_without_a_crash(
    served: Served, asking: Client, size: int
) -> None:
    client, before = asking.client, workers_of(served.server)
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X], offset=56)
        client.register_system_shared_memory("r", key("r"), 64)
        os.truncate(f"/dev/shm/{key('r')}", size)
        with refused(asking, "has become smaller", 400):
            client.infer("m", [asked(asking, X, offset=56)])
        plain = asking.given("x", X, "FP32")
        with refused(asking, "has become smaller", 400):
            client.infer("m", [plain], outputs=[wanted(asking, 8, offset=56)])
        assert Path(f"/dev/shm/{key('r')}").stat().st_size == size
        assert served.server.process.poll() is None and workers_of(served.server) == before
        os.truncate(f"/dev/shm/{key('r')}", 64)
        assert client.infer("m", [plain]).as_numpy("y").tolist() == [[2, 10]]


def test_tensors_that_do_not_fit_are_refused(asking: Client) -> None:
    with region("r", 64) as handle:
        shm.set_shared_memory_region(handle, [X])
        asking.client.register_system_shared_memory("r", key("r"), 64)
        for output, why in (
            (wanted(asking, 4), "has 8 bytes"),
            (wanted(asking, 8, offset=60), "not in region"),
        ):
            with refused(asking, why, 400):
                asking.client.infer("m", [asked(asking, X)], outputs=[output])
        wrong = asking.module.InferInput("x", [1, 3], "FP32")
        wrong.set_shared_memory("r", 8)
        with refused(asking, "needs 12", 400):
            asking.client.infer("m", [wrong])


def test_other_shared_memory_cannot_be_registered(asking: Client) -> None:
    register = asking.client.register_system_shared_memory
    with region("r", 64, "other-"), refused(asking, 'keys begin with "qs-test-"', 403):
        register("r", key("r", "other-"), 64)
    for bad in ("qs-test-/../../etc/passwd", "../qs-test-", ""):
        with refused(asking, "cannot be the key", 400):
            register("r", bad, 64)
    with refused(asking, "No such file", 400):
        register("r", "qs-test-absent", 64)
    wrong = 404 if asking.json else 400  # over HTTP it is another path
    with region("r", 64), refused(asking, "cannot be the name|there is no route for", wrong):
        register("a/b", key("r"), 64)
    link = Path(f"/dev/shm/{key('link')}")
    link.symlink_to("/etc/hostname")
    try:
        with refused(asking, "shared memory .*link", 400):
            register("r", link.name, 1)
    finally:
        link.unlink()


def test_cuda_is_refused(asking: Client) -> None:
    with refused(asking, "shared memory is not supported", 501):
        asking.client.get_cuda_shared_memory_status()


def test_a_server_without_the_flag_refuses_shared_memory(models: Path) -> None:
    with serving(models) as plain:
        for protocol in OTHER:
            with connected(protocol, plain.addresses[protocol]) as asking:
                with region("r", 64), refused(asking, "--shared-memory", 501):
                    asking.client.register_system_shared_memory("r", key("r"), 64)
                for outputs in (None, [wanted(asking, 8)]):
                    with refused(asking, "--shared-memory", 400):
                        asking.client.infer("m", [asked(asking, X)], outputs=outputs)


def test_streamed_requests_in_shared_memory(served: Served) -> None:
    answers: queue.Queue[Any] = queue.Queue()
    with (
        region("r", 64) as handle,
        connected("grpc", served.addresses["grpc"]) as asking,
    ):
        shm.set_shared_memory_region(handle, [X, X * 2])
        asking.client.register_system_shared_memory("r", key("r"), 64)
        asking.client.start_stream(lambda result, error: answers.put(error or result))
        for at in (0, 8, 60):
            output = wanted(asking, 8, offset=32 + at % 32)
            asking.client.async_stream_infer("m", [asked(asking, X, offset=at)], outputs=[output])
        found = [answers.get(timeout=PATIENCE) for _ in range(3)]
        asking.client.stop_stream()
        assert [type(each).__name__ for each in found[:2]] == ["InferResult"] * 2
        assert "are not in region" in str(found[2])
        made = shm.get_contents_as_numpy(handle, np.float32, [2, 2], offset=32)
        assert made.tolist() == [[2, 10], [4, 20]]
        asking.client.unregister_system_shared_memory()


def test_all_workers_know_a_region_including_replacements(models: Path, protocol: str) -> None:
    with serving(models, *FLAG, workers=2) as served, region("r", 64) as handle:
        address = served.addresses[protocol]
        shm.set_shared_memory_region(handle, [X])
        with connected(protocol, address) as asking:
            asking.client.register_system_shared_memory("r", key("r"), 64)
            with refused(asking, "is registered", 409):
                asking.client.register_system_shared_memory("r", key("r"), 64)
        answered(served, protocol, 8)
        os.kill(workers_of(served.server)[-1], signal.SIGKILL)
        time.sleep(0.5)
        answered(served, protocol, 16)
        with connected(protocol, address) as asking:
            asking.client.unregister_system_shared_memory("r")
        for _ in range(8):
            with connected(protocol, address) as asking:
                assert regions(asking) == []


def answered(served: Served, protocol: str, times: int) -> None:
    """Send requests over new connections, which are distributed among the workers."""
    until = time.monotonic() + PATIENCE
    while times:
        with connected(protocol, served.addresses[protocol]) as asking:
            try:
                found = asking.client.infer("m", [asked(asking, X)]).as_numpy("y")
            except (OSError, InferenceServerException) as error:
                gone = isinstance(error, OSError) or "shared memory" not in str(error)
                assert gone and time.monotonic() < until, error
                continue
            assert found.tolist() == [[2, 10]]
            times -= 1


def workers_of(served: Running) -> list[int]:
    """Return the process ids of the workers, if there are several."""
    children = Path(f"/proc/{served.process.pid}/task/{served.process.pid}/children").read_text()
    return [int(each) for each in children.split()]
