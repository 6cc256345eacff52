"""Routes send NaN and infinite figures as JSON that strict parsers accept."""

from pathlib import Path

import numpy as np
import orjson
import pytest

from service.api.control.admin import _check
from service.api.protocol.finite_json import FiniteJSON
from service.core.checks import Check
from tests.engine.graphs import constant, model, node, save, value
from tests.inprocess import serve

WIDTH = 4
MASK = np.array([[0, -np.inf, 0, 0]], np.float32)


def masked(folder: Path, number: int, mask: np.ndarray = MASK) -> None:
    """Logits [n, 4], of which one class is masked."""
    x, y = value("x", ["n", WIDTH]), value("logits", ["n", WIDTH])
    proto = model([node("Add", "x", "mask", to="logits")], [x], [y], [constant("mask", mask)])
    save(proto, folder / "masked", number)


def golden(folder: Path) -> None:
    x = np.random.default_rng(0).standard_normal((8, WIDTH)).astype(np.float32)
    x[3] = -np.inf  # only -inf: no class can be chosen
    np.savez(folder / "masked/golden.npz", **{"inputs/x": x, "outputs/logits": x + MASK})


@pytest.mark.asyncio
async def test_a_model_with_masked_scores_passes_its_own_golden_set(tmp_path: Path) -> None:
    for number in (1, 2):
        masked(tmp_path, number)
    golden(tmp_path)
    async with serve(tmp_path) as served:
        answer = await served.client.post("/admin/models/masked/swap", json={"version": 1})
        assert answer.status_code == 200, answer.text
        checks = orjson.loads(answer.content)["checks"]
        assert {"cosine", "relative error"} <= {check["measure"] for check in checks}
        for path in ("/admin/models/masked/versions", "/v2/models/masked", "/v2/models/stats",
                     "/v2/models/masked/config", "/openapi.json"):  # fmt: skip
            answer = await served.client.get(path)
            assert answer.status_code == 200 and orjson.loads(answer.content)
        assert (await served.client.get("/metrics")).status_code == 200


@pytest.mark.parametrize("value", [np.nan, np.inf, -1e9])
@pytest.mark.asyncio
async def test_a_version_with_a_lost_mask_is_refused_with_the_position(
    tmp_path: Path, value: float
) -> None:
    masked(tmp_path, 1)
    golden(tmp_path)
    async with serve(tmp_path) as served:
        masked(tmp_path, 2, np.array([[0, value, 0, 0]], np.float32))
        answer = await served.client.post("/admin/models/masked/swap", json={"version": 2})
        assert answer.status_code == 409
        report = orjson.loads(answer.content)
        (check,) = (each for each in report["checks"] if not each["passed"])
        assert check["measured"] in (7, 8) and check["detail"].startswith("the first at [0, 1] is ")
        assert check["detail"] in report["error"]


def test_nan_and_infinite_figures_are_null() -> None:
    check = Check("speed", "ratio", float("nan"), float("inf"), False)
    found = orjson.loads(FiniteJSON(_check(check).model_dump()).body)
    assert (found["measured"], found["required"]) == (None, None)
