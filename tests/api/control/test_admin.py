"""Swap, rollback and versions over HTTP: results, durations of phases and reasons of refusals."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import pytest_asyncio

from tests.inprocess import Served, serve
from tests.repositories import golden, put, scale

pytestmark = pytest.mark.asyncio(loop_scope="function")


@pytest_asyncio.fixture(loop_scope="function")
async def scales(tmp_path: Path) -> AsyncIterator[Served]:
    """Versions 1 and 2, of which 2 serves; version 3 fails the gate."""
    for number, factor in ((1, 2.0), (2, 2.0), (3, 9.0)):
        put(tmp_path, "m", number, scale(factor))
    golden(tmp_path / "m", 2)
    (tmp_path / "m/2/report.json").write_text(
        '{"recipe": "qdq", "speed": {"b1": 2.0}, "table": [1], "odd": NaN}'
    )
    async with serve(tmp_path) as served:
        yield served


async def post(served: Served, verb: str, body: str = "") -> httpx.Response:
    # curl's default Content-Type, which does not describe the body.
    kind = {"content-type": "application/x-www-form-urlencoded"}
    return await served.client.post(f"/admin/models/m/{verb}", content=body, headers=kind)


async def infer(served: Served) -> str:
    tensor = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 1]}
    reply = await served.client.post("/v2/models/m/infer", json={"inputs": [tensor]})
    version: str = reply.json()["model_version"]
    return version


async def versions(served: Served) -> dict[str, Any]:
    document: dict[str, Any] = (await served.client.get("/admin/models/m/versions")).json()
    return document


async def test_a_swap_answers_with_its_phases_and_checks(scales: Served) -> None:
    assert await infer(scales) == "2"
    reply = await post(scales, "swap", '{"version": 1}')
    answer = reply.json()
    assert reply.status_code == 200
    assert (answer["model"], answer["from_version"], answer["to_version"]) == ("m", 2, 1)
    assert answer["changed"] and answer["persisted"] and answer["forced"] == ""
    phases = {phase["name"]: phase for phase in answer["phases"]}
    before = ["room", "rehearsal", "load", "signature", "warm-up", "golden", "memory"]
    assert list(phases) == [*before, "switch", "drain"]
    assert all(p["status"] == "done" and p["seconds"] >= 0 for p in phases.values())
    assert {check["measure"] for check in answer["checks"]} >= {"cosine", "relative error"}
    assert await infer(scales) == "1"


async def test_a_rollback_serves_the_previous_version_again(scales: Served) -> None:
    refused = await post(scales, "rollback")
    assert refused.status_code == 409 and "no version before" in refused.json()["error"]
    await post(scales, "swap", '{"version": 1}')
    reply = await post(scales, "rollback")
    assert (reply.status_code, reply.json()["to_version"]) == (200, 2)
    assert await infer(scales) == "2"


async def test_a_version_that_fails_the_gate_is_refused_with_a_report(scales: Served) -> None:
    reply = await post(scales, "swap", '{"version": 3}')
    assert reply.status_code == 409
    report = reply.json()
    assert 'model "m" version 3 is not fit to serve: golden: relative error' in report["error"]
    failed = [check for check in report["checks"] if not check["passed"]]
    assert failed == [
        {
            "name": "golden",
            "measure": "relative error",
            "output": "y",
            "measured": pytest.approx(3.5),
            "required": 0.35,
            "passed": False,
        }
    ]
    assert await infer(scales) == "2"


async def test_a_forced_swap_serves_the_version_and_shows_the_reason(scales: Served) -> None:
    reply = await post(scales, "swap", '{"version": 3, "force": true}')
    assert reply.status_code == 200 and "relative error" in reply.json()["forced"]
    rows = {row["version"]: row for row in (await versions(scales))["versions"]}
    assert "relative error" in rows[3]["forced"] and rows[2]["forced"] == ""


BAD = [
    ("swap", "", 400, "version: Field required"),
    ("swap", "{", 400, "not JSON"),
    ("swap", "[]", 400, "expected an object"),
    ("swap", '{"version": 0}', 400, "version"),
    ("swap", '{"version": "newest"}', 400, "version"),
    ("swap", '{"version": 1, "forse": true}', 400, "forse"),
    ("swap", '{"version": 7}', 404, "on disk: 1, 2, 3"),
    ("rollback", '{"to": 1}', 400, "to"),
]


@pytest.mark.parametrize(("verb", "body", "status", "text"), BAD)
async def test_invalid_requests_are_refused_with_the_reason(
    scales: Served, verb: str, body: str, status: int, text: str
) -> None:
    reply = await post(scales, verb, body)
    assert reply.status_code == status and text in reply.json()["error"]
    assert await infer(scales) == "2"


@pytest.mark.parametrize(("verb", "body"), [("swap", b'{"version": 1}'), ("rollback", b"")])
async def test_an_unknown_model_is_not_found(scales: Served, verb: str, body: bytes) -> None:
    reply = await scales.client.post(f"/admin/models/nobody/{verb}", content=body)
    assert reply.status_code == 404 and 'no model "nobody"' in reply.json()["error"]
    for path in ("versions", "events"):
        assert (await scales.client.get(f"/admin/models/nobody/{path}")).status_code == 404


async def test_swap_and_rollback_are_documented_with_valid_examples(scales: Served) -> None:
    paths = (await scales.client.get("/openapi.json")).json()["paths"]
    for verb in ("swap", "rollback"):
        operation = paths[f"/admin/models/{{name}}/{verb}"]["post"]
        example = operation["requestBody"]["content"]["application/json"]["example"]
        reply = await scales.client.post(f"/admin/models/m/{verb}", json=example)
        assert reply.status_code == 200, reply.text
        assert "409" in operation["responses"]
