"""Inputs with separate axes, without axes, or with defaults, by Triton's client and raw HTTP."""

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
import tritonclient.http as triton
from tritonclient.utils import InferenceServerException, np_to_triton_dtype

from tests.engine import axes_graphs, graphs
from tests.system.process import KEY, Running, running

MODELS = {
    "clip": axes_graphs.clip(cross=False),
    "clip_cross": axes_graphs.clip(cross=True),
    "network": axes_graphs.network(),
    "network_columns": axes_graphs.network([2, "num_edges"]),
    "ranking": axes_graphs.ranking(),
    "ranking_converted": axes_graphs.ranking("unk__1", "unk__2"),
    "converted": axes_graphs.pair(["unk__1", 4], ["unk__2", 4]),
    "unnamed": axes_graphs.pair([None, 4], [None, 4]),
    "unnamed_apart": axes_graphs.apart([None, 4], [None, 4]),
    "same": axes_graphs.pair(["batch", 4], ["batch", 4]),
    "any_shape": axes_graphs.without_shape(),
    "defaults": axes_graphs.with_defaults(),
    "text": graphs.attention(),
    "lstm": axes_graphs.recurrent("LSTM"),
}
BOTH = pytest.mark.parametrize("binary", [True, False])


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = tmp_path_factory.mktemp("axes")
    for name, model in MODELS.items():
        graphs.save(model, models / name)
    with running(models) as server:
        yield server
        assert [line for line in server.logged() if line["level"] in ("error", "warning")] == []


def ask(server: Running, model: str, binary: bool = True, **arrays: Any) -> dict[str, np.ndarray]:
    inputs = []
    for name, values in arrays.items():
        array = np.asarray(values)
        array = array.astype(np.float32) if array.dtype == np.float64 else array
        given = triton.InferInput(name, array.shape, np_to_triton_dtype(array.dtype))
        inputs.append(given.set_data_from_numpy(array, binary_data=binary))
    answer = triton.InferenceServerClient(server.address).infer(model, inputs)
    outputs = answer.get_response()["outputs"]
    return {
        o["name"]: np.zeros(o["shape"], np.float32)
        if 0 in o["shape"]
        else answer.as_numpy(o["name"])
        for o in outputs
    }


def refused(server: Running, model: str, binary: bool = True, **arrays: Any) -> str:
    with pytest.raises(InferenceServerException) as error:
        ask(server, model, binary, **arrays)
    assert error.value.status() in ("400", "StatusCode.INVALID_ARGUMENT")
    return str(error.value)


def get(server: Running, path: str) -> Any:
    return httpx.get(f"http://{server.address}{path}").json()


def random(*shape: int) -> np.ndarray:
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


@BOTH
def test_images_and_texts_may_differ_in_number(served: Running, binary: bool) -> None:
    image, text = random(100, 8), random(3, 6)
    found = ask(served, "clip", binary, image=image, text=text)
    assert {n: a.shape for n, a in found.items()} == {"ie": (100, 4), "te": (3, 4)}
    alone = ask(served, "clip", binary, image=image[:1], text=text)
    assert np.allclose(alone["ie"], found["ie"][:1], atol=1e-5)
    assert ask(served, "clip_cross", binary, image=image, text=text)["logits"].shape == (100, 3)


@BOTH
@pytest.mark.parametrize("model", ["network", "network_columns"])
def test_the_numbers_of_nodes_and_edges_may_differ_or_be_zero(
    served: Running, model: str, binary: bool
) -> None:
    nodes = np.array([[1, 1], [2, 2], [3, 3]], np.float32)
    edges = np.array([[0, 1], [0, 2]])
    none = np.zeros((0, 2), np.int64)
    if model == "network_columns":
        edges, none = edges.T, none.T
    found = ask(served, model, binary, nodes=nodes, edges=edges)
    assert found["y"].tolist() == [[1, 1], [3, 3], [4, 4]]
    assert ask(served, model, binary, nodes=nodes, edges=none)["y"].tolist() == nodes.tolist()
    assert "idx=5" in refused(served, model, binary, nodes=nodes, edges=edges + 5)


@BOTH
def test_one_user_may_have_any_number_of_items(served: Running, binary: bool) -> None:
    items = random(5, 4)
    found = ask(served, "ranking", binary, user=np.ones((1, 4)), items=items)
    assert np.allclose(found["score"], items.sum(1), atol=1e-5)
    text = refused(served, "ranking", binary, user=np.ones((2, 4)), items=items)
    assert '"user" [2, 4] and "items" [5, 4]' in text


@BOTH
def test_inputs_that_broadcast_are_served_alone_or_row_by_row(
    served: Running, binary: bool
) -> None:
    """The converter has named the axes: both forms are served, and max_batch_size is 0."""
    model, items = "ranking_converted", random(100, 4)
    for user in (np.ones((1, 4)), np.ones((100, 4))):
        found = ask(served, model, binary, user=user, items=items)
        assert np.allclose(found["score"], items.sum(1), atol=1e-5)
    assert get(served, f"/v2/models/{model}/config")["max_batch_size"] == 0
    assert get(served, f"/v2/models/{model}")["parameters"]["batching"] == "combine"
    rows, _ = runs(served, model, user=random(2, 4), items=random(2, 4))
    assert rows == 200


@BOTH
@pytest.mark.parametrize("model", ["converted", "unnamed", "same"])
def test_all_inputs_of_a_batch_have_the_same_number_of_rows(
    served: Running, model: str, binary: bool
) -> None:
    assert ask(served, model, binary, a=random(2, 4), b=random(2, 4))["y"].shape == (2, 3)
    text = refused(served, model, binary, a=random(2, 4), b=random(3, 4))
    assert 'input "a" has 2 rows, input "b" has 3' in text
    assert ask(served, model, binary, a=random(65, 4), b=random(65, 4))["y"].shape == (65, 3)


def test_metadata_and_configuration_describe_the_axes(served: Running) -> None:
    for model, size, dims in [
        ("clip", 0, [[-1, 8], [-1, 6]]),
        ("unnamed_apart", 0, [[-1, 4], [-1, 4]]),
        ("any_shape", 0, [[-1]]),
        ("converted", 64, [[4], [4]]),
    ]:
        found = get(served, f"/v2/models/{model}/config")
        assert found["max_batch_size"] == size
        assert [each["dims"] for each in found["input"]] == dims
        assert ("dynamic_batching" in found) is bool(size)
    parameters = get(served, "/v2/models/any_shape")["parameters"]
    assert parameters["any_shape"] == '"x", "y"'
    found = get(served, "/v2/models/defaults")
    assert [each["name"] for each in found["inputs"]] == ["x"]
    assert found["parameters"]["optional_inputs"] == '"w" FP32 [4, 3], "k" FP32 []'
    assert "x FP32 of any shape -> y FP32 of any shape" in served.told


def test_the_documented_example_of_each_model_works(served: Running) -> None:
    document = get(served, "/openapi.json")
    for path, protocol in [("/v2/models/{name}/infer", "v2"), ("/v1/models/{name}:predict", "v1")]:
        body = document["paths"][path]["post"]["requestBody"]["content"]["application/json"]
        assert {"clip", "converted"} <= body["examples"].keys()
        assert "any_shape" not in body["examples"]
        assert ("network_columns" in body["examples"]) is (protocol == "v2")
        for name, example in body["examples"].items():
            url = f"http://{served.address}{path.replace('{name}', name)}"
            assert httpx.post(url, json=example["value"]).status_code == 200, (protocol, name)


def runs(server: Running, model: str, **arrays: Any) -> tuple[int, int]:
    """Send many requests at once; return the numbers of rows and runs."""
    before = get(server, f"/v2/models/{model}/stats")["model_stats"][0]
    with ThreadPoolExecutor(8) as threads:
        for reply in [threads.submit(ask, server, model, **arrays) for _ in range(100)]:
            reply.result()
    after = get(server, f"/v2/models/{model}/stats")["model_stats"][0]
    counts = (after[name] - before[name] for name in ("inference_count", "execution_count"))
    return tuple(counts)  # type: ignore[return-value]


@pytest.mark.parametrize("model", ["clip", "ranking", "network", "unnamed_apart"])
def test_models_with_separate_axes_are_never_batched(served: Running, model: str) -> None:
    arrays: dict[str, dict[str, Any]] = {
        "clip": {"image": random(1, 8), "text": random(1, 6)},
        "ranking": {"user": random(1, 4), "items": random(1, 4)},
        "network": {"nodes": random(1, 2), "edges": np.zeros((1, 2), np.int64)},
        "unnamed_apart": {"a": random(1, 4), "b": random(1, 4)},
    }
    assert runs(served, model, **arrays[model]) == (100, 100)


def test_requests_that_override_a_default_are_never_batched(served: Running) -> None:
    assert runs(served, "defaults", x=random(1, 4), k=np.array(3.0)) == (100, 100)


@BOTH
def test_an_input_without_a_shape_accepts_any_shape(served: Running, binary: bool) -> None:
    for shape in ((5,), (2, 5), (2, 3, 5), (0, 5)):
        found = ask(served, "any_shape", binary, x=random(*shape))["y"]
        assert found.shape == (*shape[:-1], 3)
    assert '"x" [2, 4]' in refused(served, "any_shape", binary, x=random(2, 4))


@BOTH
def test_a_default_is_overridden_for_one_request(served: Running, binary: bool) -> None:
    x = random(2, 4)
    usual = ask(served, "defaults", binary, x=x)["y"]
    assert np.allclose(ask(served, "defaults", binary, k=np.array(4.0), x=x)["y"], 2 * usual)
    assert not ask(served, "defaults", binary, x=x, w=np.zeros((4, 3)))["y"].any()
    assert np.allclose(ask(served, "defaults", binary, x=x)["y"], usual)
    problem = refused(served, "defaults", binary, x=x, w=np.zeros((4, 2)))
    assert "FP32 [4, 3], got FP32 [4, 2]" in problem
    if binary:
        assert "INT64" in refused(served, "defaults", binary, x=x, k=np.array(4))
    else:  # in JSON a number is a number
        assert np.allclose(ask(served, "defaults", binary, x=x, k=np.array(4))["y"], 2 * usual)
    assert 'unknown input "q"' in refused(served, "defaults", binary, x=x, q=np.array(4.0))


def test_v1_cannot_override_a_default(served: Running) -> None:
    url = f"http://{served.address}/v1/models/defaults:predict"
    reply = httpx.post(url, json={"instances": [{"x": [1, 2, 3, 4], "k": 2}]})
    assert reply.status_code == 400 and "unknown column" in reply.text
    assert httpx.post(url, json={"instances": [{"x": [1, 2, 3, 4]}]}).status_code == 200


@BOTH
def test_requests_with_zero_rows_are_served(served: Running, binary: bool) -> None:
    for count in (0, 2, 0):
        rows = random(count, 4)
        assert ask(served, "same", binary, a=rows, b=rows)["y"].shape == (count, 3)
        assert ask(served, "defaults", binary, x=rows, k=np.array(1.0))["y"].shape == (count, 3)
    tokens = np.zeros((0, 7), np.int64)
    assert ask(served, "text", binary, ids=tokens, attention_mask=tokens)["mean"].shape == (0, 16)
    tokens = np.zeros((2, 0), np.int64)
    found = ask(served, "text", binary, ids=tokens, attention_mask=tokens)
    assert found["states"].shape == (2, 0, 16)


@BOTH
def test_empty_input_to_an_unsafe_operator_does_not_crash_the_server(
    served: Running, binary: bool
) -> None:
    for shape in ((0, 2, 3), (2, 0, 3)):
        assert "its operator LSTM" in refused(served, "lstm", binary, x=np.zeros(shape))
    assert ask(served, "lstm", binary, x=random(2, 5, 3))["y"].shape == (2, 4)


def test_zero_rows_have_no_best_class(served: Running) -> None:
    given = triton.InferInput("x", [0, 4], "FP32")
    given.set_data_from_numpy(np.zeros((0, 4), np.float32), binary_data=False)
    wanted = triton.InferRequestedOutput("y", binary_data=False, class_count=2)
    client = triton.InferenceServerClient(served.address)
    answer = client.infer("defaults", [given], outputs=[wanted])
    assert answer.get_output("y")["shape"] == [0, 2]


def test_a_golden_set_gates_the_swap_of_a_model_with_separate_axes(tmp_path: Path) -> None:
    home = tmp_path / "clip"
    graphs.save(MODELS["clip_cross"], home)
    graphs.save(MODELS["clip_cross"], home, 2)
    wrong = axes_graphs.clip(cross=True)
    wrong.graph.initializer[0].CopyFrom(graphs.constant("wi", -graphs.weights(8, 4)))
    graphs.save(wrong, home, 3)
    image, text = random(2, 8), random(3, 6)
    logits = (image @ graphs.weights(8, 4)) @ (text @ graphs.weights(6, 4, seed=1)).T
    arrays = {"inputs/image": image, "inputs/text": text, "outputs/logits": logits}
    np.savez(home / "golden.npz", **arrays)  # type: ignore[arg-type]
    (home / "serving.toml").write_text("version = 1\n")
    with running(tmp_path) as server:
        url = f"http://{server.address}/admin/models/clip/swap"
        shown = {"X-API-Key": KEY}
        assert httpx.post(url, json={"version": 2}, headers=shown).status_code == 200
        reply = httpx.post(url, json={"version": 3}, headers=shown)
        assert reply.status_code == 409 and "cosine" in reply.text
        assert ask(server, "clip", image=image, text=text)["logits"].shape == (2, 3)
