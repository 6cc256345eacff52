"""How the balancer handles predictions whose server dies, and times without a server."""

import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing
from http.client import HTTPConnection
from pathlib import Path

import pytest

from tests.deploy.balancer import Balancer, balancing
from tests.deploy.prometheus import free_port
from tests.parts import HAPROXY
from tests.patience import PATIENCE, until
from tests.system.process import KEY, ROOT, Running, running

pytestmark = HAPROXY.unless(shutil.which("haproxy") is not None)
BODY = (ROOT / "models/digits/example.json").read_bytes()
INFER = "/v2/models/digits/infer"
CLIENTS = 4


@pytest.fixture
def ports() -> list[int]:
    return [free_port(), free_port()]


@pytest.fixture
def balancer(ports: list[int], tmp_path: Path) -> Iterator[Balancer]:
    with balancing(ports, tmp_path) as found:
        yield found


def serve(port: int, code: int = 0) -> AbstractContextManager[Running]:
    return running(ROOT / "models", "--port", str(port), "--cores", "1", code=code)


def post(balancer: Balancer, path: str = INFER, body: bytes = BODY) -> tuple[int, str, str]:
    """Return status, body and Retry-After. The head is sent before the body, as many clients do."""
    with closing(HTTPConnection("127.0.0.1", balancer.port, timeout=PATIENCE)) as connection:
        connection.request("POST", path, body, {"X-API-Key": KEY})
        answer = connection.getresponse()
        return answer.status, answer.read().decode(), answer.headers.get("Retry-After", "")


def test_a_prediction_is_repeated_if_its_server_dies(balancer: Balancer, ports: list[int]) -> None:
    with serve(ports[0], -signal.SIGKILL) as dying, serve(ports[1]):
        until(lambda: balancer.up(1) and balancer.up(2))
        dying.process.send_signal(signal.SIGSTOP)  # it takes requests, and does not answer
        with ThreadPoolExecutor(CLIENTS) as clients:
            answers = [clients.submit(post, balancer) for _ in range(CLIENTS)]
            until(lambda: int(balancer.counted("servers", "server1", "scur")), "it has requests")
            dying.process.kill()
            assert [answer.result()[0] for answer in answers] == [200] * CLIENTS
        assert int(balancer.counted("servers", "server1", "wredis"))


def test_a_prediction_waits_while_there_is_no_server(balancer: Balancer, ports: list[int]) -> None:
    until(lambda: not balancer.up(1) and not balancer.up(2))
    with ThreadPoolExecutor(CLIENTS) as clients:
        answers = [clients.submit(post, balancer) for _ in range(CLIENTS)]
        until(lambda: int(balancer.counted("hold", "BACKEND", "scur")) == CLIENTS, "they wait")
        with serve(ports[0]):
            assert [answer.result()[0] for answer in answers] == [200] * CLIENTS


@pytest.mark.parametrize(
    ("path", "body"),
    [("/admin/models/digits/swap", b'{"version": 1}'), ("/v2/health/ready", b"")],
)
def test_changes_and_health_do_not_wait(balancer: Balancer, path: str, body: bytes) -> None:
    until(lambda: not balancer.up(1) and not balancer.up(2))
    assert post(balancer, path, body)[0] == 503
    assert int(balancer.counted("hold", "BACKEND", "stot")) == 0


def test_bodies_too_long_to_repeat_are_refused_with_retry_after(balancer: Balancer) -> None:
    until(lambda: not balancer.up(1) and not balancer.up(2))
    status, _, again = post(balancer, body=BODY + b" " * 2**17)
    assert (status, again) == (503, "1")
