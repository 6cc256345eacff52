"""Every recipe for language models, on a real model: answers do not depend on other requests, and
models that pass the gate are close to FP32."""

import asyncio
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest

from service.config.model import ModelConfig
from service.core.checks import Check
from service.core.generation import Delta, GenerationRequest, SamplingParameters
from service.core.language_gate import Forced, language_checks
from service.engine.generation.batcher import GenerationBatcher
from service.engine.generation.language_model import LanguageModel
from service.engine.generation.teacher import force
from service.engine.loading.loader import load
from service.quantization.language.recipes import build, recipes
from service.quantization.language.texts import Texts, cut, read_text
from service.quantization.recipes.catalogue import Recipe
from tests.engine.generation.tiny_batcher import whole
from tests.models.smollm2 import FOLDER, there
from tests.parts import SMOLLM2

pytestmark = SMOLLM2.unless(there())
RECIPES = {recipe.name: recipe for recipe in recipes(saturates=False)}
PLACES = ("France", "Spain", "Italy", "Japan", "Peru", "Chile", "Egypt", "Kenya")
TOKENS = 24


def language(folder: Path) -> LanguageModel:
    config = {"generation": {"slots": 8, "context": 256, "chunk": 8}, "instances": {"count": 1}}
    found = load(folder, ModelConfig.model_validate(config), 1).language
    assert found is not None
    return found


@dataclass(frozen=True, slots=True)
class Real:
    """The FP32 model, texts, and its answers to them."""

    model: LanguageModel
    texts: Texts
    forced: Forced


@pytest.fixture(scope="module")
def fp32() -> Real:
    model = language(FOLDER)
    texts = cut(model.tokenizer.encode(read_text(None), special=False), 256)
    return Real(model, texts, force(model.decoders[0], texts.evaluation))


@dataclass(frozen=True, slots=True)
class Candidate:
    """The result of a recipe."""

    recipe: Recipe
    model: LanguageModel


@pytest.fixture(scope="module", params=["FP32", *RECIPES])
def candidate(
    request: pytest.FixtureRequest, fp32: Real, tmp_path_factory: pytest.TempPathFactory
) -> Candidate:
    if request.param == "FP32":
        return Candidate(Recipe("FP32", RECIPES["per-row INT8"].method), fp32.model)
    folder = tmp_path_factory.mktemp("models") / "smollm2/1"
    recipe = build(RECIPES[request.param], FOLDER, folder, fp32.texts.calibration.tolist())
    return Candidate(recipe, language(folder))


def asked(model: LanguageModel, place: str, tokens: int = TOKENS) -> GenerationRequest:
    text = f"The capital of {place} is a city that"
    prompt = tuple(model.tokenizer.encode(text, special=True))
    return GenerationRequest(prompt, SamplingParameters(0.0, logprobs=0), tokens, ignore_eos=True)


async def chosen(batcher: GenerationBatcher, request: GenerationRequest) -> list[int]:
    deltas: list[Delta] = [delta async for delta in batcher.generate(request)]
    return [token.token for delta in deltas for token in delta.chosen]


async def test_greedy_answers_are_the_same_alone_and_in_a_full_batch(candidate: Candidate) -> None:
    """Requests join one after the other, while the earlier ones are being answered."""
    batcher = GenerationBatcher(("m", 1), candidate.model, lambda _: None, limit=99)

    async def later(place: str, number: int) -> list[int]:
        await asyncio.sleep(0.05 * number)
        return await chosen(batcher, asked(candidate.model, place))

    alone = [await chosen(batcher, asked(candidate.model, place)) for place in PLACES]
    joined = await asyncio.gather(*(later(place, number) for number, place in enumerate(PLACES)))
    batcher.close()
    await batcher.drain()
    # In four bits, the model says the same about some places.
    assert len({tuple(tokens) for tokens in alone}) > len(PLACES) // 2
    assert [len(tokens) for tokens in alone] == [TOKENS] * len(PLACES)
    assert joined == alone


async def test_a_prompt_that_is_partly_reused_has_the_same_answer(candidate: Candidate) -> None:
    """The second turn of a conversation, on an empty cache and after its first turn: the chances of
    its tokens are equal to the last bit."""
    model = candidate.model

    async def turns(*prompts: tuple[int, ...]) -> tuple[Delta, int]:
        fresh = replace(model, decoders=(model.decoders[0].beside(8, 256),))
        batcher = GenerationBatcher(("m", 1), fresh, lambda _: None, limit=99)
        for prompt in prompts:
            sampling = SamplingParameters(0.0, logprobs=0)
            stream = batcher.generate(GenerationRequest(prompt, sampling, TOKENS, ignore_eos=True))
            found = await whole(stream)
        batcher.close()
        await batcher.drain()
        return found, stream.reused_tokens

    first = asked(model, "France").prompt * 4
    second = (*first, *asked(model, "Spain").prompt)
    alone, none = await turns(second)
    after, reused = await turns(first, second)
    assert (none, reused) == (0, len(first))
    assert after == alone


def checks(candidate: Candidate, fp32: Real) -> list[Check]:
    got = force(candidate.model.decoders[0], fp32.texts.evaluation)
    return language_checks(got, fp32.forced, None, None)


def test_eight_bits_pass_the_gate_and_four_do_not(candidate: Candidate, fp32: Real) -> None:
    passes = all(check.passed for check in checks(candidate, fp32))
    assert passes == (not candidate.recipe.name.startswith("INT4"))


def test_products_with_outliers_stay_in_float(candidate: Candidate) -> None:
    if candidate.recipe.name.startswith("per-row"):
        assert 1 <= len(candidate.recipe.float_nodes) <= 8
        assert all("/mlp/down_proj/" in name for name in candidate.recipe.float_nodes)
    else:
        assert not candidate.recipe.float_nodes


def test_outliers_in_float_help_at_the_beginning_of_a_text(fp32: Real, tmp_path: Path) -> None:
    """Outliers are largest there. Without calibration texts, no products stay in float."""
    tokens = fp32.model.tokenizer.encode(read_text(None), special=False)
    texts = np.array([tokens[start : start + 5] for start in range(0, 96 * 300, 300)])
    wanted, ratios = force(fp32.model.decoders[0], texts), []
    for number, calibration in enumerate((fp32.texts.calibration[:0], fp32.texts.calibration), 1):
        folder = tmp_path / f"smollm2/{number}"
        recipe = build(RECIPES["per-row INT8"], FOLDER, folder, calibration.tolist())
        assert bool(recipe.float_nodes) == bool(len(calibration))
        got = force(language(folder).decoders[0], texts)
        ratios.append(float(language_checks(got, wanted, None, None)[0].measured))
    assert ratios[0] > 1.03 and ratios[1] < ratios[0] - 0.02
