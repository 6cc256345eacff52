"""Swaps to versions with more outputs or wider inputs: old requests, V1's too, are answered."""

from pathlib import Path
from typing import Any

import onnx

from tests.engine.graphs import model, node, save, value
from tests.inprocess import Served, serve

X, Y, Z = (value(name, ["batch", 2]) for name in "xyz")
ROW = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


def one_output() -> onnx.ModelProto:
    return model([node("Neg", "x", to="y")], [X], [Y])


def two_outputs() -> onnx.ModelProto:
    return model([node("Neg", "x", to="y"), node("Abs", "x", to="z")], [X], [Z, Y])


def fixed(rows: int | str) -> onnx.ModelProto:
    x, y = (value(name, [rows, 2]) for name in "xy")
    return model([node("Neg", "x", to="y")], [x], [y])


async def post(served: Served, path: str, body: dict[str, Any]) -> tuple[int, Any]:
    reply = await served.client.post(path, json=body)
    return reply.status_code, reply.json()


async def predictions(served: Served, version: str = "") -> Any:
    _, answer = await post(served, f"/v1/models/m{version}:predict", {"instances": [[1, 2]]})
    return answer["predictions"]


async def outputs(served: Served) -> list[str]:
    _, answer = await post(served, "/v2/models/m/infer", {"inputs": [ROW]})
    return [each["name"] for each in answer["outputs"]]


async def test_an_additional_output_is_compatible_and_v1_is_unchanged(tmp_path: Path) -> None:
    save(one_output(), tmp_path / "m")
    async with serve(tmp_path) as served:
        save(two_outputs(), tmp_path / "m", 2)
        status, answer = await post(served, "/admin/models/m/swap", {"version": 2})
        assert status == 200
        detail = next(p["detail"] for p in answer["phases"] if p["name"] == "signature")
        assert detail == 'compatible: new output "z" FP32 [-1, 2], V1 still returns only "y"'
        assert await predictions(served) == [[-1, -2]]
        assert await predictions(served, "/versions/2") == [{"z": [1, 2], "y": [-1, -2]}]
        assert await outputs(served) == ["z", "y"]
    async with serve(tmp_path) as restarted:
        assert await predictions(restarted) == [[-1, -2]]


async def test_v1_returns_all_outputs_after_an_allowed_signature_change(tmp_path: Path) -> None:
    save(one_output(), tmp_path / "m")
    async with serve(tmp_path) as served:
        save(two_outputs(), tmp_path / "m", 2)
        await post(served, "/admin/models/m/swap", {"version": 2})
        status, answer = await post(served, "/admin/models/m/swap", {"version": "latest"})
        assert status == 409 and "--allow-signature-change" in answer["error"]
        asked = {"version": 2, "allow_signature_change": True}
        assert (await post(served, "/admin/models/m/swap", asked))[0] == 200
        assert await predictions(served) == [{"z": [1, 2], "y": [-1, -2]}]
    async with serve(tmp_path) as restarted:
        assert await predictions(restarted) == [{"z": [1, 2], "y": [-1, -2]}]


async def test_operations_that_cannot_keep_v1s_answers_are_refused(tmp_path: Path) -> None:
    save(one_output(), tmp_path / "m")
    async with serve(tmp_path) as served:
        save(two_outputs(), tmp_path / "m", 2)
        status, answer = await post(served, "/admin/models/m/swap", {"version": "latest"})
        assert status == 409
        assert 'V1 returns only "y", which only a swap to a number can keep' in answer["error"]
        assert "quantserve swap m 2; to let V1 return all outputs" in answer["error"]
        status, _ = await post(served, "/v2/repository/models/m/load", {})
        assert status == 409
        assert await predictions(served) == [[-1, -2]]
        assert (await post(served, "/admin/models/m/swap", {"version": 2}))[0] == 200
        assert await predictions(served) == [[-1, -2]]


async def test_a_rollback_to_fewer_outputs_needs_no_permission(tmp_path: Path) -> None:
    save(one_output(), tmp_path / "m")
    async with serve(tmp_path) as served:
        save(two_outputs(), tmp_path / "m", 2)
        await post(served, "/admin/models/m/swap", {"version": 2})
        for expected in (["y"], ["z", "y"]):
            assert (await post(served, "/admin/models/m/rollback", {}))[0] == 200
            assert await outputs(served) == expected
            assert await predictions(served) == [[-1, -2]]


async def test_a_variable_axis_is_compatible_and_a_fixed_axis_is_not(
    tmp_path: Path,
) -> None:
    save(fixed(1), tmp_path / "m")
    async with serve(tmp_path) as served:
        save(fixed("n"), tmp_path / "m", 2)
        assert (await post(served, "/admin/models/m/swap", {"version": "latest"}))[0] == 200
        assert await outputs(served) == ["y"]
        assert await predictions(served) == [[-1, -2]]
        save(fixed(1), tmp_path / "m", 3)
        status, answer = await post(served, "/admin/models/m/swap", {"version": 3})
        assert status == 409
        assert 'input "x" FP32 [1, 2] was FP32 [-1, 2]' in answer["error"]
        assert '{"allow_signature_change": true}' in answer["error"]


async def test_a_version_for_fewer_rows_than_before_is_refused(tmp_path: Path) -> None:
    save(fixed(3), tmp_path / "m")
    (tmp_path / "m/model.toml").write_text("[batching]\nmax_batch_size = 2")
    async with serve(tmp_path) as served:
        save(fixed("n"), tmp_path / "m", 2)
        status, answer = await post(served, "/admin/models/m/swap", {"version": 2})
        assert status == 409 and "had 3 rows, max_batch_size is 2" in answer["error"]


async def test_max_batch_size_limits_requests_only_if_rows_influence_each_other(
    tmp_path: Path,
) -> None:
    save(fixed(70), tmp_path / "m")
    many = {"name": "x", "datatype": "FP32", "shape": [70, 2], "data": [1] * 140}
    async with serve(tmp_path) as served:
        x, y = (value(name, ["n", 2]) for name in "xy")
        centred = [node("ReduceMean", "x", to="mean", axes=[0]), node("Sub", "x", "mean", to="y")]
        save(model(centred, [x], [y]), tmp_path / "m", 2)
        status, answer = await post(served, "/admin/models/m/swap", {"version": 2})
        assert status == 409 and "had 70 rows, max_batch_size is 64" in answer["error"]
        save(fixed("n"), tmp_path / "m", 3)
        assert (await post(served, "/admin/models/m/swap", {"version": 3}))[0] == 200
        status, answer = await post(served, "/v2/models/m/infer", {"inputs": [many]})
        assert status == 200 and answer["outputs"][0]["shape"] == [70, 2]
