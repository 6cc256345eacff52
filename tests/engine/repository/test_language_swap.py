"""Versions of a language model pass the gate, and swaps interrupt no answer."""

import asyncio
from pathlib import Path

import numpy as np
import onnx
import pytest

from service.core.errors import GateFailed
from service.core.generation import Delta
from service.engine.generation.teacher import force
from service.engine.host.heap import trim_heap
from service.engine.host.resources import resident_bytes
from service.engine.repository.context import Context
from service.engine.repository.repository import ModelRepository
from service.engine.repository.rollout_options import Cause, RolloutOptions
from tests.engine.generation import tiny_llama
from tests.engine.generation.tiny_batcher import language, request, whole


def golden(folder: Path, path: Path) -> None:
    """Write a golden set: texts of a model, and its scores for them."""
    model = language(folder, rows=1)
    texts = np.random.default_rng(0).integers(0, tiny_llama.VOCABULARY, (4, 20))
    forced = force(model.decoders[0], texts)
    np.savez(path, tokens=texts, logprobs=forced.logprobs, top1=forced.top1)


def rounded(version: Path, steps: int) -> None:
    """Round weights to a number of steps that loses accuracy."""
    model = onnx.load(version / "model.onnx")
    for weight in model.graph.initializer:
        array = onnx.numpy_helper.to_array(weight)
        if array.ndim == 2 and array.dtype == np.float32 and weight.name not in ("cos", "sin"):
            scale = np.abs(array).max() / steps
            again = (np.round(array / scale) * scale).astype(np.float32)
            weight.CopyFrom(onnx.numpy_helper.from_array(again, weight.name))
    onnx.save(model, version / "model.onnx")


@pytest.fixture
def models(tmp_path: Path) -> Path:
    """Version 1, and two rounded versions: one finely, one coarsely."""
    folder = tmp_path / "models"
    for number, steps in ((1, 0), (2, 1000), (3, 2)):
        version = tiny_llama.write(folder / f"tiny/{number}")
        if steps:
            rounded(version, steps)
    golden(tmp_path / "source", folder / "tiny/golden.npz")
    (folder / "tiny/serving.toml").write_text("version = 1\n")
    return folder


async def test_the_gate_compares_scores_on_golden_texts(models: Path) -> None:
    repository = ModelRepository(models, Context(1, lambda _: None))
    await repository.load_all()
    assert repository.version("tiny").number == 1
    passed = await repository.swap("tiny", 2, RolloutOptions(Cause.SWAP))
    measures = {check.measure: check for check in passed.checks if check.name == "golden"}
    assert measures.keys() == {"perplexity ratio", "top-1 agreement"}
    assert all(check.passed for check in measures.values())
    with pytest.raises(GateFailed, match="perplexity ratio is .*, required at most 1.05"):
        await repository.swap("tiny", 3, RolloutOptions(Cause.SWAP))
    assert repository.version("tiny").number == 2
    forced = await repository.swap("tiny", 3, RolloutOptions(Cause.SWAP, force=True))
    assert "perplexity ratio" in forced.forced
    await repository.stop()


async def test_swaps_interrupt_no_answer(models: Path) -> None:
    """Twenty swaps while eight answers at a time are read; each answer is complete."""
    repository = ModelRepository(models, Context(2, lambda _: None))
    await repository.load_all()
    over = False

    async def read() -> list[Delta]:
        answers = []
        while not over:
            _, batcher = repository.version("tiny").generation()
            answers.append(await whole(batcher.generate(request(max_tokens=60))))
        return answers

    readers = [asyncio.ensure_future(read()) for _ in range(8)]
    for number in (2, 1) * 10:
        await repository.swap("tiny", number, RolloutOptions(Cause.SWAP))
    over = True
    answers = [answer for each in await asyncio.gather(*readers) for answer in each]
    assert len(answers) >= 8
    assert {answer.tokens for answer in answers} == {60}
    await repository.stop()
    assert not repository.models["tiny"].active


async def test_full_caches_count_against_the_budget(tmp_path: Path) -> None:
    """Two models with an empty cache of 256 MiB, and memory for one of them."""
    bytes_a_token = 2 * tiny_llama.LAYERS * tiny_llama.KV_HEADS * tiny_llama.SIZE * 4
    slots = 256 * 2**20 // (512 * bytes_a_token)
    for name in ("one", "two"):
        tiny_llama.write(tmp_path / name / "1", context=512)
        settings = f"[generation]\nslots = {slots}\ncontext = 512\n[instances]\ncount = 1\n"
        (tmp_path / name / "model.toml").write_text(settings)
    trim_heap()
    context = Context(1, lambda _: None, resident_bytes() + 400 * 2**20)
    repository = ModelRepository(tmp_path, context)
    await repository.load_all()
    (served,) = [model for model in repository if model.serving]
    (refused,) = [model for model in repository if not model.serving]
    version = repository.version(served.name)
    assert version.loaded is not None
    assert version.loaded.promised_bytes == pytest.approx(256 * 2**20, rel=0.05)
    assert "of the memory budget are left, too little for" in refused.reason
    await repository.unload(served.name)
    await repository.load(refused.name)
    assert refused.serving
    await repository.stop()


async def test_a_golden_set_of_another_kind_is_reported(models: Path) -> None:
    np.savez(models / "tiny/golden.npz", **{"inputs/x": np.ones((2, 3))})
    repository = ModelRepository(models, Context(1, lambda _: None))
    await repository.load_all()
    assert "has tokens, logprobs and top1" in repository.models["tiny"].reason
    await repository.stop()
