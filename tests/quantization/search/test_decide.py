"""Decisions as tables: measurements, and the expected winner."""

import pytest

from service.quantization.search.decide import Candidate, Goal, Target, best, cutoff, mixed_bases
from tests.quantization.candidates import FP32, GOAL, candidate


def winner(*candidates: Candidate, goal: Goal = GOAL) -> str | None:
    found = best(candidates, FP32, goal)
    return found.recipe.name if found else None


def test_the_fastest_within_the_budget_wins() -> None:
    assert winner(candidate("a", 2.0), candidate("b", 3.0), candidate("c", 4.0, drop=0.02)) == "b"


def test_a_broken_model_never_wins() -> None:
    assert winner(candidate("fast", 9.0, failure="output holds NaN")) is None


def test_batch_independent_answers_win_over_faster_ones() -> None:
    rows = candidate("static", 1.4), candidate("dynamic", 2.0, deviation=0.1)
    assert winner(*rows) == "static"
    assert winner(*rows, goal=Goal(Target.LATENCY, 0.01, True)) == "dynamic"
    assert winner(rows[1]) == "dynamic"


def test_throughput_of_batch_dependent_candidates_counts_single_rows() -> None:
    alone = candidate("dynamic", 1.2, deviation=0.1, rate=5.0)
    batched = candidate("static", 1.0, rate=2.0)
    assert winner(alone, batched, goal=Goal(Target.THROUGHPUT)) == "static"
    assert winner(alone, batched, goal=Goal(Target.THROUGHPUT, 0.01, True)) == "dynamic"


def test_the_smaller_file_wins_at_equal_speed() -> None:
    assert winner(candidate("a", 2.0, size=2000), candidate("b", 1.95, size=1000)) == "b"


def test_the_smaller_drop_wins_at_similar_size() -> None:
    right, small = candidate("a", 2.0, size=1020), candidate("b", 2.0, drop=0.005, size=1000)
    assert winner(right, small) == "a"


@pytest.mark.parametrize(("speed", "name"), [(0.9, "small"), (0.5, None)])
def test_a_small_file_may_cost_some_speed_but_not_half_of_it(speed: float, name: str) -> None:
    assert winner(candidate("small", speed), goal=Goal(Target.SIZE)) == name


def test_the_cutoff_rises_with_the_best_speed_so_far() -> None:
    assert cutoff([], FP32, GOAL) == 1.0
    assert cutoff([candidate("a", 3.0)], FP32, GOAL) == pytest.approx(1.8)


def test_fast_inaccurate_candidates_get_mixed_precision() -> None:
    rows = [candidate("slow and right", 1.3), candidate("fast and wrong", 3.0, drop=0.5)]
    assert [c.recipe.name for c in mixed_bases(rows, FP32, GOAL)] == ["fast and wrong"]
    assert mixed_bases([*rows, candidate("fast and right", 3.1)], FP32, GOAL) == []


def test_nearly_accurate_candidates_come_before_slightly_faster_ones() -> None:
    rows = [candidate("wild", 1.52, drop=0.3), candidate("close", 1.4, drop=0.011),
            candidate("slow", 1.18, drop=0.0101)]  # fmt: skip
    assert [c.recipe.name for c in mixed_bases(rows, FP32, GOAL)] == ["close", "slow", "wild"]


def test_whole_runs_cannot_influence_each_other() -> None:
    wrong = candidate("dynamic", 3.0, drop=0.02, deviation=None)
    assert [c.recipe.name for c in mixed_bases([wrong], FP32, GOAL)] == ["dynamic"]
    assert mixed_bases([candidate("dynamic", 3.0, drop=0.02, deviation=0.1)], FP32, GOAL) == []
    right = candidate("dynamic", 3.0, deviation=None)
    assert winner(candidate("static", 2.0), right) == "dynamic"
    assert winner(right, goal=Goal(Target.THROUGHPUT)) == "dynamic"
