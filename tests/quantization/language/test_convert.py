"""Hugging Face's and llama.cpp's files to graphs, by the real builder."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from service.config.model import ModelConfig
from service.core.language_gate import Forced
from service.engine.generation.teacher import force
from service.engine.loading.loader import load
from service.quantization.evaluate.worker import Worker, WorkFailed
from service.quantization.language.convert import convert
from service.quantization.language.source import Form
from tests.parts import MODEL_BUILDER, installed
from tests.patience import PATIENCE
from tests.quantization.language import hugging_face

pytestmark = MODEL_BUILDER.unless(all(installed(package) for package in Form.GGUF.value))
TEXTS = np.random.default_rng(0).integers(3, hugging_face.VOCABULARY, (4, 20))


def converted(source: Path, form: Form, target: Path) -> str:
    with Worker() as worker:
        return worker.call(PATIENCE, convert, source, form, target)


def scores(folder: Path) -> Forced:
    language = load(folder, ModelConfig(), 1).language
    assert language is not None and language.template is not None
    assert language.tokenizer.encode("Hello there", special=False)
    return force(language.decoders[0], TEXTS)


def written(folder: Path) -> Sequence[str]:
    return sorted(path.name for path in folder.iterdir())


def test_both_forms_give_the_same_graph(tmp_path: Path) -> None:
    folder = hugging_face.write(tmp_path / "tiny")
    file = hugging_face.write_gguf(tmp_path / "tiny.gguf", "F32")
    first, second = tmp_path / "a/1", tmp_path / "b/1"
    assert converted(folder, Form.HUGGING_FACE, first) == "FP32 was built from tiny"
    note = converted(file, Form.GGUF, second)
    assert note == "the weights of tiny.gguf were dequantized to FP32: 21 F32"
    assert written(first.parent) == ["1"], "nothing else is left"
    wanted, got = scores(first), scores(second)
    assert np.array_equal(wanted.top1, got.top1)
    assert np.allclose(wanted.logprobs, got.logprobs, atol=1e-4)


def test_a_quantized_file_is_dequantized(tmp_path: Path) -> None:
    file = hugging_face.write_gguf(tmp_path / "tiny.gguf", "Q8_0")
    assert converted(file, Form.GGUF, tmp_path / "a/1").endswith(": 16 Q8_0, 5 F32")
    assert np.isfinite(scores(tmp_path / "a/1").logprobs).all()


def test_failed_conversions_report_the_reason(tmp_path: Path) -> None:
    folder = hugging_face.write(tmp_path / "tiny", architectures=["BertForMaskedLM"])
    with Worker() as worker, pytest.raises(WorkFailed, match="cannot be converted to a graph: "):
        worker.call(PATIENCE, convert, folder, Form.HUGGING_FACE, tmp_path / "a/1")
