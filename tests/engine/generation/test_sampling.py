"""Sampling against the definitions, written out slowly."""

from collections import Counter
from math import exp, isnan, log
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.generation import SamplingParameters
from service.engine.generation.sampling import Sampler, sample

settings = st.fixed_dictionaries(
    {
        "temperature": st.sampled_from([0.0, 0.3, 1.0, 2.0]),
        "top_p": st.sampled_from([0.1, 0.5, 0.9, 1.0]),
        "top_k": st.sampled_from([0, 1, 3, 1000]),
        "min_p": st.sampled_from([0.0, 0.2]),
        "repetition_penalty": st.sampled_from([1.0, 1.3]),
        "frequency_penalty": st.sampled_from([0.0, 0.5]),
        "seed": st.integers(0, 3),
    }
)


def scores(rows: int, size: int = 200, seed: int = 0) -> np.ndarray[Any, np.dtype[np.float32]]:
    return np.random.default_rng(seed).normal(0, 3, (rows, size)).astype(np.float32)


def sampler(**given_: Any) -> Sampler:
    return Sampler(SamplingParameters(**given_), (1, 2, 3))


@given(st.lists(settings, min_size=1, max_size=8), st.integers(0, 5))
def test_samples_are_the_same_alone_and_in_a_batch(given_: list[dict[str, Any]], seed: int) -> None:
    """Three steps of several answers give the same tokens together and alone."""
    steps = [scores(len(given_), seed=10 * seed + step) for step in range(3)]
    together, alone = ([sampler(**each) for each in given_] for _ in range(2))
    joined = [[c.token for c in sample(step, together)] for step in steps]
    apart = [
        [sample(step[i : i + 1], [each])[0].token for i, each in enumerate(alone)] for step in steps
    ]
    assert joined == apart


def kept(row: Any, temperature: float, top_k: int, top_p: float, min_p: float) -> dict[int, float]:
    """Return the tokens that remain and their probabilities, by the definitions."""
    likely = {i: exp((float(x) - float(row.max())) / temperature) for i, x in enumerate(row)}
    order = sorted(likely, key=lambda i: -likely[i])[: top_k or None]
    total, share, left = sum(likely[i] for i in order), 0.0, []
    for i in order:
        if share < top_p * total and likely[i] >= min_p:
            left.append(i)
        share += likely[i]
    mass = sum(likely[i] for i in left)
    return {i: likely[i] / mass for i in left}


@pytest.mark.parametrize(
    "asked",
    [
        {},
        {"temperature": 0.5},
        {"top_k": 4},
        {"top_p": 0.8},
        {"min_p": 0.1},
        {"top_k": 6, "top_p": 0.7, "temperature": 1.5},
    ],
)
def test_tokens_are_sampled_with_their_probabilities(asked: dict[str, Any]) -> None:
    row = np.random.default_rng(5).normal(0, 1.5, (1, 12)).astype(np.float32)
    whole = {"temperature": 1.0, "top_k": 0, "top_p": 1.0, "min_p": 0.0} | asked
    expected = kept(row[0], **whole)
    one, draws = sampler(seed=7, **asked), 4000
    found = Counter(sample(row, [one])[0].token for _ in range(draws))
    assert set(found) <= set(expected)
    for token, share in expected.items():
        assert abs(found[token] / draws - share) < 0.05


def test_temperature_zero_chooses_the_most_likely_token() -> None:
    rows = scores(4)
    found = sample(rows, [sampler(temperature=0.0)] * 4)
    assert [each.token for each in found] == rows.argmax(axis=1).tolist()
    assert isnan(found[0].logprob) and not found[0].top


def test_a_tiny_top_p_leaves_the_most_likely_token() -> None:
    rows = scores(1)
    assert sample(rows, [sampler(top_p=1e-9)])[0].token == rows[0].argmax()


def test_penalties_and_biases_do_not_change_the_scores_in_place() -> None:
    rows = np.array([[5.0, 4.0, -1.0, 0.0]], np.float32)
    before = rows.copy()
    one = sampler(temperature=0.0, frequency_penalty=2.0)
    assert [sample(rows, [one])[0].token for _ in range(3)] == [0, 1, 0]
    once = sampler(temperature=0.0, presence_penalty=1.5)
    assert [sample(rows, [once])[0].token for _ in range(3)] == [0, 1, 0]
    again = Sampler(SamplingParameters(temperature=0.0, repetition_penalty=2.0), (0, 2))
    assert sample(rows, [again])[0].token == 1
    assert sample(rows, [sampler(temperature=0.0, bias={3: 100.0})])[0].token == 3
    assert sample(rows, [sampler(bias={3: 100.0, 0: -100.0}, seed=1)])[0].token == 3
    np.testing.assert_array_equal(rows, before)


def test_end_tokens_may_be_barred() -> None:
    rows = np.array([[5.0, 4.0, 1.0]], np.float32)
    one = Sampler(SamplingParameters(temperature=0.0), (), barred=(0,))
    one.bar = True
    assert sample(rows, [one])[0].token == 1
    one.bar = False
    assert sample(rows, [one])[0].token == 0


def test_log_probabilities_are_from_the_scores_of_the_model() -> None:
    row = np.array([[1.0, 3.0, 2.0, -4.0]], np.float32)
    total = log(sum(exp(x) for x in row[0].tolist()))
    (found,) = sample(row, [sampler(temperature=0.0, bias={0: 100.0}, logprobs=2)])
    assert found.token == 0
    assert found.logprob == pytest.approx(1.0 - total, abs=1e-5)
    assert [token for token, _ in found.top] == [1, 2]
    assert found.top[0][1] == pytest.approx(3.0 - total, abs=1e-5)


def test_without_a_seed_answers_differ() -> None:
    row = np.zeros((1, 1000), np.float32)
    assert len({sample(row, [sampler()])[0].token for _ in range(5)}) > 1
