"""Decisions as tables: given these measurements, that winner."""

import pytest

from service.quantization.build import Built
from service.quantization.decide import (
    Candidate,
    Goal,
    Target,
    bar,
    best,
    decide,
    mixed_bases,
    verdict,
)
from service.quantization.fusion import Fusion
from service.quantization.quality import Quality
from service.quantization.recipes import Dynamic, Imported, Recipe, Static
from service.quantization.timing import Timing
from service.quantization.trial import Measurement

GOAL = Goal(Target.LATENCY, 0.01)


def candidate(
    name: str, speed: float = 1.0, drop: float = 0.0, size: int = 1000, deviation: float = 0.0,
    failure: str = "", rate: float | None = None,
) -> Candidate:  # fmt: skip
    built = Built(size, size, "INT8 QDQ", 17, Fusion(4, 0, 0, 0), 0.1)
    quality = Quality("accuracy", 0.9 - drop, 0.9, (), failure)
    timing = Timing(0.01 / speed, 0.01, 8, 100 * (rate or speed), 100)
    measured = Measurement(0.1, 1000, 1000, quality, timing, deviation)
    method = Dynamic() if deviation else Static()
    return Candidate(Recipe(name, method), built, measured)


FP32 = candidate("FP32", size=4000)


def winner(*candidates: Candidate, goal: Goal = GOAL) -> str | None:
    return decide(candidates, FP32, goal).winner


def test_the_fastest_within_the_budget_wins() -> None:
    assert winner(candidate("a", 2.0), candidate("b", 3.0), candidate("c", 4.0, drop=0.02)) == "b"


def test_speed_below_noise_keeps_fp32_and_says_why() -> None:
    decision = decide([candidate("a", 1.1)], FP32, GOAL)
    assert decision.winner is None
    assert "1 bring less than 1.15 x" in decision.reason


def test_no_candidate_at_all_keeps_fp32() -> None:
    assert "nothing that ONNX Runtime's tools can quantize" in decide([], FP32, GOAL).reason


def test_a_broken_model_never_wins() -> None:
    assert winner(candidate("fast", 9.0, failure="output holds NaN")) is None


def test_a_row_that_answers_alike_in_every_batch_wins_over_a_faster_one_that_does_not() -> None:
    rows = candidate("static", 1.4), candidate("dynamic", 2.0, deviation=0.1)
    assert winner(*rows) == "static"
    assert winner(*rows, goal=Goal(Target.LATENCY, 0.01, True)) == "dynamic"
    assert winner(rows[1]) == "dynamic"


def test_rows_that_may_not_share_a_run_count_one_by_one_for_throughput() -> None:
    alone = candidate("dynamic", 1.2, deviation=0.1, rate=5.0)
    batched = candidate("static", 1.0, rate=2.0)
    assert winner(alone, batched, goal=Goal(Target.THROUGHPUT)) == "static"
    assert winner(alone, batched, goal=Goal(Target.THROUGHPUT, 0.01, True)) == "dynamic"


def test_among_equals_the_smaller_file_wins() -> None:
    assert winner(candidate("a", 2.0, size=2000), candidate("b", 1.95, size=1000)) == "b"


@pytest.mark.parametrize(("speed", "name"), [(0.9, "small"), (0.5, None)])
def test_a_small_file_may_cost_some_speed_but_not_half_of_it(speed: float, name: str) -> None:
    assert winner(candidate("small", speed), goal=Goal(Target.SIZE)) == name


def test_a_small_file_that_is_too_slow_is_called_slow() -> None:
    assert verdict(candidate("small", 0.5), FP32, Goal(Target.SIZE)).startswith("too slow: 0.50 x")


def test_the_bar_rises_with_the_best_so_far() -> None:
    assert bar([], FP32, GOAL) == 1.0
    assert bar([candidate("a", 3.0)], FP32, GOAL) == pytest.approx(1.8)


def test_what_is_fast_and_wrong_is_worth_mending() -> None:
    rows = [candidate("slow and right", 1.3), candidate("fast and wrong", 3.0, drop=0.5)]
    assert [c.recipe.name for c in mixed_bases(rows, FP32, GOAL)] == ["fast and wrong"]
    assert mixed_bases([*rows, candidate("fast and right", 3.1)], FP32, GOAL) == []


def test_a_failure_is_its_own_verdict() -> None:
    failed = Candidate(Recipe("x", Imported("x")), failure="LoadFailed: no kernel")
    assert verdict(failed, FP32, GOAL) == "LoadFailed: no kernel"
    assert best([failed], FP32, GOAL) is None
