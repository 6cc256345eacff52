"""A classifier converted from scikit-learn with default options, as clients see it."""

from pathlib import Path

import numpy as np
import pytest

from tests.engine import classifiers, graphs
from tests.inprocess import serve

pytestmark = pytest.mark.asyncio(loop_scope="session")
X = np.random.default_rng(5).standard_normal((3, classifiers.WIDTH)).astype(np.float32)
CLASSES = ["cat", "dog", "bird"]
WANTED = classifiers.probabilities(3, X)
BODY = {"inputs": [{"name": "x", "datatype": "FP32", "shape": [3, 4], "data": X.ravel().tolist()}]}
CLASSIFY = BODY | {"outputs": [{"name": "probabilities", "parameters": {"classification": 1}}]}


def model(folder: Path, toml: str = "") -> None:
    graphs.save(classifiers.model(*classifiers.linear(CLASSES)), folder / "pets")
    if toml:
        (folder / "pets/model.toml").write_text(toml)


async def test_probabilities_are_a_tensor_and_classes_have_labels(tmp_path: Path) -> None:
    model(tmp_path)
    async with serve(tmp_path) as served:
        found = (await served.client.get("/v2/models/pets")).json()
        assert found["outputs"][1] == {
            "name": "probabilities", "datatype": "FP32", "shape": [-1, 3]
        }  # fmt: skip
        assert "ZipMap was removed" in found["parameters"]["outputs_note"]
        reply = (await served.client.post("/v2/models/pets/infer", json=BODY)).json()
        label, shares = reply["outputs"]
        np.testing.assert_allclose(np.reshape(shares["data"], (3, 3)), WANTED, rtol=1e-5)
        assert label["data"] == [CLASSES[i] for i in WANTED.argmax(1)]
        reply = (await served.client.post("/v2/models/pets/infer", json=CLASSIFY)).json()
        names = [each.split(":")[2] for each in reply["outputs"][0]["data"]]
        assert names == label["data"]


async def test_labels_of_model_toml_have_priority(tmp_path: Path) -> None:
    model(tmp_path, '[outputs.probabilities]\nlabels = ["c", "d", "b"]')
    async with serve(tmp_path) as served:
        reply = (await served.client.post("/v2/models/pets/infer", json=CLASSIFY)).json()
        names = [each.split(":")[2] for each in reply["outputs"][0]["data"]]
        assert names == ["cdb"[i] for i in WANTED.argmax(1)]


async def test_swaps_between_versions_with_and_without_zipmap_are_compatible(
    tmp_path: Path,
) -> None:
    nodes, outputs = classifiers.linear(CLASSES)
    plain = classifiers.model(nodes[:-1], [outputs[0], graphs.value("shares", [None, 3])])
    plain.graph.output[1].name = plain.graph.node[1].output[0] = "probabilities"
    graphs.save(plain, tmp_path / "pets")
    np.savez(tmp_path / "pets/golden.npz", **{"inputs/x": X, "outputs/probabilities": WANTED})
    async with serve(tmp_path) as served:
        zipped = classifiers.model(nodes, outputs).SerializeToString()
        url = "/admin/models/pets/versions"
        reply = await served.client.post(url, content=zipped)
        assert reply.status_code == 201, reply.text
        for number in (2, 1):
            swap = {"version": number}
            reply = await served.client.post("/admin/models/pets/swap", json=swap)
            assert reply.status_code == 200, reply.text
            reply = await served.client.post("/v2/models/pets/infer", json=BODY)
            assert reply.json()["model_version"] == str(number)
            shares = reply.json()["outputs"][1]["data"]
            np.testing.assert_allclose(np.reshape(shares, (3, 3)), WANTED, rtol=1e-5)
