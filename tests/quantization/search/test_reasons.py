"""The reasons of a decision, for people."""

from dataclasses import replace

import pytest

from service.quantization.evaluate.quality import Quality
from service.quantization.recipes.catalogue import Imported, Recipe
from service.quantization.search.decide import Candidate, Goal, Target, best
from service.quantization.search.reasons import Standing, Verdict, decide, refutation, verdict
from tests.quantization.candidates import FP32, GOAL, candidate


def test_speed_below_noise_keeps_fp32_with_a_reason() -> None:
    decision = decide([candidate("a", 1.1)], FP32, GOAL)
    assert decision.winner is None
    assert "Less than 1.15 x, or too slow: 1 (the best, a: 1.10 x" in decision.reason


def test_fp32_stays_without_candidates() -> None:
    assert "nothing that ONNX Runtime's tools can quantize" in decide([], FP32, GOAL).reason
    assert "the time budget ended before any of 18 recipes" in decide([], FP32, GOAL, 18).reason


def test_a_small_file_that_is_too_slow_is_called_slow() -> None:
    assert verdict(candidate("small", 0.5), FP32, Goal(Target.SIZE)).text.startswith(
        "too slow: 0.50 x"
    )


def test_a_failure_is_its_own_verdict() -> None:
    failed = Candidate(Recipe("x", Imported("x")), failure="LoadFailed: no kernel")
    assert verdict(failed, FP32, GOAL) == Verdict(Standing.FAILS, "LoadFailed: no kernel")
    assert best([failed], FP32, GOAL) is None


def test_a_refuted_candidate_does_not_win_and_is_named() -> None:
    refuted = replace(candidate("lucky", 3.0), refuted="not confirmed: bad luck")
    assert verdict(refuted, FP32, GOAL).text == "not confirmed: bad luck"
    assert decide([refuted, candidate("honest", 2.0)], FP32, GOAL).winner == "honest"


@pytest.mark.parametrize(("drop", "rows", "held"), [
    (0.0, 16, True), (0.01, 1000, True), (0.016, 1000, True), (0.017, 1000, False),
    (0.05, 16, True), (0.07, 16, False),
])  # fmt: skip
def test_a_drop_within_chance_refutes_nothing(drop: float, rows: int, held: bool) -> None:
    why = refutation(Quality("accuracy", 0.9 - drop, 0.9, ()), rows, GOAL)
    assert (why == "") == held


def test_a_broken_output_refutes_on_any_number_of_rows() -> None:
    quality = Quality("accuracy", 0.0, 1.0, (), "output holds NaN")
    assert refutation(quality, 16, GOAL).endswith("16 test rows: output holds NaN")


def test_a_larger_file_is_called_larger() -> None:
    assert "2.00 x larger" in decide([candidate("a", 2.0, size=8000)], FP32, GOAL).reason


@pytest.mark.parametrize("allowed", [False, True])
def test_allowed_batch_variance_names_the_serving_setting(allowed: bool) -> None:
    goal = replace(GOAL, allow_batch_variance=allowed)
    reason = decide([candidate("a", 2.0, deviation=0.01)], FP32, goal).reason
    assert "is served row by row" in reason
    assert ('combine = "always"' in reason) == allowed
