"""The codec process: its answers, and its replacement when it fails."""

import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from service.api.offload.frames import LineBroken, receive, send
from service.api.offload.jobs import pack, unpack
from service.api.offload.process import CodecProcess
from service.core.errors import CodecFailed, MalformedRequest
from service.core.sizes import MAX_TEXT
from service.core.tensors import DATATYPES, Signature, Tensor


@pytest.fixture
def process() -> Iterator[CodecProcess]:
    made = CodecProcess(patience=30)
    yield made
    made.close()


def test_values_are_sent_and_answered_by_one_process(process: CodecProcess) -> None:
    array = np.arange(300_000, dtype=np.float32).reshape(3, -1)
    assert process.pid is None
    assert np.array_equal(process.call(np.negative, array), -array)
    first = process.pid
    assert process.call(len, "four") == 4
    assert process.pid == first


def test_the_process_does_not_import_the_server(process: CodecProcess) -> None:
    import service.api.offload.jobs as jobs

    process.call(jobs.decode_v2, pickle.PickleBuffer(b'{"inputs": []}'), None, Signature((), ()))
    loaded = process.call(eval, "sorted(__import__('sys').modules)")
    assert not {"onnxruntime", "fastapi", "uvicorn", "pydantic", "asyncio"} & set(loaded)


def test_the_process_inherits_only_its_socket_and_the_standard_files(process: CodecProcess) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listener:
        os.set_inheritable(listener.fileno(), True)
        process.call(len, "")
        kinds = [str(f.readlink()) for f in Path(f"/proc/{process.pid}/fd").iterdir()]
    assert len([kind for kind in kinds if kind.startswith("socket:")]) == 1


def test_known_errors_are_returned_and_others_masked(
    process: CodecProcess, caplog: pytest.LogCaptureFixture
) -> None:
    import service.api.offload.jobs as jobs

    with pytest.raises(MalformedRequest, match="the body is not JSON"):
        process.call(jobs.decode_v2, pickle.PickleBuffer(b"{"), None, Signature((), ()))
    with pytest.raises(CodecFailed) as error:
        process.call(divmod, 1, 0)
    assert str(error.value) == "internal error while the body was decoded or encoded"
    assert "ZeroDivisionError" in caplog.text  # the log, for the operator
    assert process.call(len, "four") == 4


def test_a_killed_process_is_replaced(process: CodecProcess) -> None:
    with pytest.raises(CodecFailed, match="was killed by SIGKILL, possibly because memory ran out"):
        process.call(os.kill, _pid(process), signal.SIGKILL)
    assert process.call(len, "four") == 4


def test_a_process_that_ended_while_idle_is_replaced_without_an_error(
    process: CodecProcess,
) -> None:
    os.kill(_pid(process), signal.SIGKILL)
    assert process._process is not None
    process._process.wait()
    assert process.call(len, "four") == 4


def test_a_process_that_exits_is_replaced(process: CodecProcess) -> None:
    with pytest.raises(CodecFailed, match="ended with exit code 3"):
        process.call(os._exit, 3)
    assert process.call(len, "four") == 4


def test_a_process_that_takes_too_long_is_replaced() -> None:
    process = CodecProcess(patience=1)
    first = _pid(process)
    with pytest.raises(CodecFailed, match="did not answer within 1 s"):
        process.call(time.sleep, 60)
    assert process.call(len, "four") == 4
    assert process.pid != first
    process.close()


def test_a_process_that_cannot_start_is_reported_and_tried_again(
    process: CodecProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    with monkeypatch.context() as patched:
        patched.setattr(sys, "executable", "/nowhere/python")
        for _ in range(2):
            with pytest.raises(CodecFailed, match="does not start"):
                process.call(len, "")
    assert process.call(len, "four") == 4


def test_an_answer_lost_for_lack_of_memory_does_not_affect_the_next_call(
    process: CodecProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(_: int) -> memoryview:
        raise MemoryError

    with monkeypatch.context() as patched:
        patched.setattr("service.api.offload.process.untouched", full)
        with pytest.raises(MemoryError):
            process.call(np.negative, np.zeros(300_000, np.float32))
    assert process.call(len, "four") == 4


@pytest.mark.parametrize(
    "garbage", ["b'x' * 64", "b'\\x01\\0\\0\\0' + (5).to_bytes(8, 'little') + b'hello'"]
)
def test_a_process_with_an_invalid_answer_is_replaced(process: CodecProcess, garbage: str) -> None:
    code = f"[__import__('os').write(f, {garbage}) for f in range(3, 100) if _is_socket(f)]"
    helper = "_is_socket = lambda f: __import__('os').path.exists(f'/proc/self/fd/{f}')"
    with pytest.raises(CodecFailed):
        process.call(exec, f"{helper}\n{code}", {})
    assert process.call(len, "four") == 4


def test_the_process_ends_with_the_server(tmp_path: Path) -> None:
    code = (
        "from service.api.offload.process import CodecProcess as C\n"
        "import os\nc = C()\nc.call(len, '')\nprint(c.pid, flush=True)\nos.kill(os.getpid(), 9)"
    )
    ended = subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, check=False)
    pid = int(ended.stdout)
    until = time.monotonic() + 30
    while Path(f"/proc/{pid}").exists() and time.monotonic() < until:
        time.sleep(0.01)
    assert not Path(f"/proc/{pid}").exists()


def test_a_line_closed_after_a_message_is_reported() -> None:
    one, other = socket.socketpair()
    with one, other:
        send(one, np.arange(4))
        one.shutdown(socket.SHUT_WR)
        assert receive(other).tolist() == [0, 1, 2, 3]
        with pytest.raises(LineBroken, match="closed"):
            receive(other)


def _pid(process: CodecProcess) -> int:
    process.call(len, "")
    assert process.pid is not None
    return process.pid


def test_an_answer_may_contain_more_text_than_a_request() -> None:
    texts = np.array(["a" * MAX_TEXT, "b"], object)
    tensor = Tensor("y", DATATYPES["BYTES"], texts)
    (found,) = unpack(pack([tensor]))
    assert found.array.tolist() == texts.tolist()
