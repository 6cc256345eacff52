"""How many requests a language model decodes together, by settings, memory and a trial."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnxruntime.quantization import quantize_dynamic

from service.config.model import ModelConfig
from service.core.batching import BatchingMode
from service.core.errors import LoadFailed
from service.core.generation import GenerationRequest
from service.engine.generation.batcher import GenerationBatcher
from service.engine.generation.decoder import Traits
from service.engine.host.resources import resident_bytes
from service.engine.loading.language_trial import worth_joining
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import open_version
from service.engine.loading.warm_up import warm_up
from service.engine.storage.folder import read_model
from tests.engine.generation import tiny_llama
from tests.engine.generation.tiny_batcher import request, whole
from tests.engine.loading.test_language import ONE_TOKEN, loaded


def with_room(version: Path, room: int, **given: Any) -> Loaded:
    """Load with about this many bytes left for the cache; the trial uses some of them."""
    config = ModelConfig.model_validate(given)
    model = read_model(version.parent)
    assert model is not None
    opened = open_version(model.of_version(1), config)
    return warm_up(opened, config, 2, resident_bytes() + room)


@pytest.fixture
def version(tmp_path: Path) -> Path:
    return tiny_llama.write(tmp_path / "models/tiny/1")


def test_slots_are_divided_between_instances(version: Path) -> None:
    found = loaded(version, instances={"count": 2})
    language = found.language
    assert language is not None and not found.instances
    assert (found.plan.mode, found.plan.instances) == (BatchingMode.COMBINE, 2)
    assert [decoder.cache.rows for decoder in language.decoders] == [4, 4]
    assert (language.context, language.slots) == (128, 8)
    assert language.cache_bytes == 8 * 128 * ONE_TOKEN
    assert found.signature.takes == '"text_input" BYTES [1]'
    assert language.figures["task"] == "text-generation"
    assert all(decoder.traits == Traits() for decoder in language.decoders)
    assert language.figures["prompts_reused"] == "yes"


def test_settings_determine_slots_and_context(version: Path) -> None:
    settings = {"generation": {"slots": 5, "context": 64, "chunk": 8}, "instances": {"count": 2}}
    language = loaded(version, cores=7, **settings).language
    assert language is not None
    assert (language.slots, language.context, language.chunk) == (6, 64, 8)


def test_reuse_can_be_turned_off(version: Path) -> None:
    language = loaded(version, generation={"reuse": False}).language
    assert language is not None and not language.decoders[0].traits.reuses
    assert language.figures["prompts_reused"] == "no"


def longer(version: Path, context: int = 10_000_000) -> None:
    """Give the model a context that is too long for any memory."""
    config = json.loads((version / "genai_config.json").read_text())
    config["model"]["context_length"] = context
    (version / "genai_config.json").write_text(json.dumps(config))


def test_memory_limits_the_context_by_default(version: Path) -> None:
    longer(version)
    language = with_room(version, 2**30).language
    assert language is not None and language.slots == 8
    assert language.cache_bytes <= 2**30
    share = (resident_bytes() + 2**30) / 4
    assert language.cache_bytes == pytest.approx(share, rel=0.1)
    assert int(language.figures["cache_bytes_at_most"]) == language.cache_bytes
    assert int(language.figures["cache_bytes_available"]) == pytest.approx(2**30, rel=0.1)


def test_a_cache_that_does_not_fit_is_refused_with_its_size(version: Path) -> None:
    longer(version)
    settings = {"generation": {"slots": 8, "context": 1_000_000}}
    with pytest.raises(LoadFailed, match="take 488.3 MB a request, and .* are left, too little"):
        with_room(version, 2**30, **settings)
    fewer = with_room(version, 2**30, generation={"context": 1_000_000})
    assert fewer.language is not None and fewer.language.slots == 2
    assert "2 requests decode at a time, not 8" in fewer.plan.note
    with pytest.raises(LoadFailed, match="0 MB of the memory budget are left"):
        with_room(version, -(2**20))


def test_the_promised_memory_shrinks_as_the_cache_fills(version: Path) -> None:
    found = loaded(version)
    language = found.language
    assert language is not None
    before = found.promised_bytes
    assert 0 < language.cache_bytes - before <= 8 * 2 * ONE_TOKEN
    language.decoders[0].read(3, [[5] * 100])
    assert before - found.promised_bytes == 100 * ONE_TOKEN
    language.decoders[0].next([5], [1])
    assert before - found.promised_bytes == 100 * ONE_TOKEN


def test_rows_that_depend_on_each_other_are_decoded_alone(version: Path) -> None:
    """``quantize_dynamic`` writes one scale for the whole batch."""
    given = {"DefaultTensorType": onnx.TensorProto.FLOAT}
    quantize_dynamic(version / "model.onnx", version / "model.onnx", extra_options=given)
    found = loaded(version, cores=1)
    assert found.plan.mode is BatchingMode.REQUESTS
    assert "with the other rows of a batch: an instance decodes one request" in found.plan.note
    assert found.language is not None and found.language.slots == 1
    always = loaded(version, cores=1, batching={"combine": "always"})
    assert always.plan.mode is BatchingMode.COMBINE
    assert "as model.toml says" in always.plan.note
    assert loaded(version, batching={"combine": "never"}).plan.preferred_rows == 1


def differ_alone(version: Path) -> None:
    """Let the scores of a run with one row differ from those of the row in any other run."""
    model = onnx.load(version / "model.onnx")
    graph = model.graph
    for node in graph.node:
        node.output[:] = ["raw" if name == "logits" else name for name in node.output]
    numbers = {
        "place": np.array(0),
        "one": np.array(1),
        "more": np.float32(1.1),
        "same": np.float32(1),
    }
    graph.initializer.extend(
        onnx.numpy_helper.from_array(v, f"alone_{n}") for n, v in numbers.items()
    )
    node = onnx.helper.make_node
    graph.node.extend(
        [
            node("Shape", ["input_ids"], ["alone_shape"]),
            node("Gather", ["alone_shape", "alone_place"], ["alone_rows"]),
            node("Equal", ["alone_rows", "alone_one"], ["alone"]),
            node("Where", ["alone", "alone_more", "alone_same"], ["alone_factor"]),
            node("Mul", ["raw", "alone_factor"], ["logits"]),
        ]
    )
    onnx.save(model, version / "model.onnx")


@pytest.mark.parametrize("worth", [True, False])
def test_rows_that_differ_only_alone_share_runs_of_two_rows_or_more(
    worth: bool, version: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    differ_alone(version)
    monkeypatch.setattr("service.engine.loading.language_trial.worth_joining", lambda *_: worth)
    found = loaded(version, cores=1)
    assert found.language is not None
    assert found.language.decoders[0].traits.least_rows == (2 if worth else 1)
    assert found.language.slots == (8 if worth else 1)
    assert not found.language.decoders[0].traits.reads_together
    assert ("each step runs at least two rows" in found.plan.note) == worth
    never = loaded(version, cores=1, batching={"combine": "never"})
    assert never.language is not None and never.language.decoders[0].traits.least_rows == 1


@pytest.mark.parametrize(
    ("one", "several", "worth"), [(0.014, 0.052, True), (0.014, 0.1, False), (0.01, 0.01, True)]
)
def test_rows_are_joined_if_they_are_enough_faster(one: float, several: float, worth: bool) -> None:
    assert worth_joining(one, several, 8) is worth


@pytest.mark.parametrize("size", [1, 3])
async def test_a_loaded_model_answers(version: Path, size: int) -> None:
    found = loaded(version, generation={"slots": size})
    assert found.language is not None
    engine = GenerationBatcher(("tiny", 1), found.language, lambda _: None, limit=9)
    asked: GenerationRequest = request(max_tokens=4)
    assert (await whole(engine.generate(asked))).tokens == 4
    engine.close()
    await engine.drain()
