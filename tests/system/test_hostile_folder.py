"""A folder with odd entries in every place: healthy models are served all the time."""

import json
import shutil
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.hostile import HEALTHY, KINDS, SMALL_FILES, hostile
from tests.repositories import put, scale
from tests.system.process import Running, running
from tests.system.test_models_folder import answers, call

ASKED = ("pipe", "device", "zeros", "brackets", "no_text")
"""Kinds of which every verb is asked; the others take as long and bring nothing new."""


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Path, Running]]:
    root = hostile(tmp_path_factory.mktemp("hostile"))
    with running(root, "--poll", "2") as each:
        yield root, each
        text = each.log.read_text()
    assert "Traceback" not in text
    assert all(json.loads(line) for line in text.splitlines())
    shutil.rmtree(root)


def healthy(served: Running) -> bool:
    ready = call(f"http://{served.address}/v2/health/live")[0] == 200
    return ready and {name: answers(served, name) for name in HEALTHY} == HEALTHY


def test_healthy_models_are_served_and_all_other_entries_are_reported(
    served: tuple[Path, Running],
) -> None:
    _, server = served
    assert healthy(server)
    status, index = call(f"http://{server.address}/v2/repository/index", {})
    assert status == 200
    reasons: dict[str, str] = {}
    for each in index:
        reasons[each["name"]] = reasons.get(each["name"], "") + each["reason"]
    for kind in KINDS:
        if kind not in ("empty", "locked"):
            assert "model.toml" in reasons[f"model.toml_{kind}"], kind
            assert "golden.npz" in reasons[f"golden.npz_{kind}"], kind
            assert "golden.npz" in reasons[f"golden.npz_{kind}_own"], kind
    for file in (
        "serving.toml",
        "quarantine.toml",
        "example.json",
        "tokenizer.json",
        "report.json",
    ):
        assert not any(reasons[f"{file}_{kind}"] for kind in KINDS), file
    for name in ("name_of_file", "root_pipe", "root_outside", "version_locked", "names/²", "²"):
        assert name in reasons
    assert call(f"http://{server.address}/openapi.json")[0] == 200


def test_every_operation_on_every_odd_model_is_answered(served: tuple[Path, Running]) -> None:
    _, server = served
    base = f"http://{server.address}"
    stop, unhealthy = threading.Event(), []

    def look() -> None:
        while not stop.is_set():
            unhealthy.extend([] if healthy(server) else [1])

    def ask(name: str) -> list[int]:
        return [
            call(f"{base}/v2/repository/models/{name}/load", {})[0],
            call(f"{base}/admin/models/{name}/swap", {"version": 1})[0],
            call(f"{base}/admin/models/{name}/rollback", {})[0],
            call(f"{base}/admin/models/{name}/versions")[0],
            call(f"{base}/admin/models/{name}/versions", "no model")[0],
            call(f"{base}/v2/models/{name}/ready")[0],
        ]

    looking = threading.Thread(target=look)
    looking.start()
    try:
        names = [f"{file}_{kind}" for file in SMALL_FILES for kind in ASKED]
        with ThreadPoolExecutor(4) as pool:
            found = dict(zip(names, pool.map(ask, names), strict=True))
    finally:
        stop.set()
        looking.join()
    assert not unhealthy
    for name, statuses in found.items():
        unfit = name.startswith(("model.toml", "golden.npz"))
        allowed = {200, 400, 409, *({500, 503} if unfit else ())}
        assert set(statuses) <= allowed, (name, statuses)


def test_polling_continues(served: tuple[Path, Running]) -> None:
    root, server = served
    put(root, "new", 1, scale(7))
    for _ in range(600):
        if answers(server, "new") == 7:
            break
        threading.Event().wait(0.1)
    assert answers(server, "new") == 7 and healthy(server)
    page = server.ask(b"GET /metrics HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").body
    assert b"quantserve_poll_failures_total 0.0" in page
