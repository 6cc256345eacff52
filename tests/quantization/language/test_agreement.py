"""A graph is refused if the builder converted its architecture wrongly."""

from pathlib import Path

import pytest

from service.quantization.evaluate.worker import Worker, WorkFailed
from service.quantization.language.agreement import check_agreement
from service.quantization.language.convert import convert
from service.quantization.language.source import Form
from tests.parts import MODEL_BUILDER, installed
from tests.patience import PATIENCE
from tests.quantization.language import hugging_face

pytestmark = MODEL_BUILDER.unless(all(installed(package) for package in Form.GGUF.value))


def test_a_graph_with_other_weights_is_refused(tmp_path: Path) -> None:
    folder = hugging_face.write(tmp_path / "tiny")
    with Worker() as worker:
        worker.call(PATIENCE, convert, folder, Form.HUGGING_FACE, tmp_path / "a/1")
        worker.call(PATIENCE, check_agreement, folder, tmp_path / "a/1")
        hugging_face.write_safetensors(folder / "model.safetensors", hugging_face.weights(seed=1))
        with pytest.raises(WorkFailed, match=r"^the graph differs from the model: the logarithms"):
            worker.call(PATIENCE, check_agreement, folder, tmp_path / "a/1")


def test_norms_without_weights_are_refused(tmp_path: Path) -> None:
    changes = {"architectures": ["OlmoForCausalLM"], "model_type": "olmo"}
    folder = hugging_face.write(tmp_path / "tiny", **changes)
    with Worker() as worker, pytest.raises(WorkFailed, match="^the graph differs from the model"):
        worker.call(PATIENCE, convert, folder, Form.HUGGING_FACE, tmp_path / "a/1")
