"""Decisions as tables: given these measurements, that winner."""

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


def test_among_files_of_about_one_size_the_smaller_drop_wins() -> None:
    right, small = candidate("a", 2.0, size=1020), candidate("b", 2.0, drop=0.005, size=1000)
    assert winner(right, small) == "a"


@pytest.mark.parametrize(("speed", "name"), [(0.9, "small"), (0.5, None)])
def test_a_small_file_may_cost_some_speed_but_not_half_of_it(speed: float, name: str) -> None:
    assert winner(candidate("small", speed), goal=Goal(Target.SIZE)) == name


def test_the_bar_rises_with_the_best_so_far() -> None:
    assert cutoff([], FP32, GOAL) == 1.0
    assert cutoff([candidate("a", 3.0)], FP32, GOAL) == pytest.approx(1.8)


def test_what_is_fast_and_wrong_gets_mixed_precision() -> None:
    rows = [candidate("slow and right", 1.3), candidate("fast and wrong", 3.0, drop=0.5)]
    assert [c.recipe.name for c in mixed_bases(rows, FP32, GOAL)] == ["fast and wrong"]
    assert mixed_bases([*rows, candidate("fast and right", 3.1)], FP32, GOAL) == []


def test_what_is_nearly_right_comes_before_what_is_a_little_faster() -> None:
    rows = [candidate("wild", 1.52, drop=0.3), candidate("close", 1.4, drop=0.011),
            candidate("slow", 1.18, drop=0.0101)]  # fmt: skip
    assert [c.recipe.name for c in mixed_bases(rows, FP32, GOAL)] == ["close", "slow", "wild"]


def test_runs_that_are_never_joined_cannot_move_each_other() -> None:
    wrong = candidate("dynamic", 3.0, drop=0.02, deviation=None)
    assert [c.recipe.name for c in mixed_bases([wrong], FP32, GOAL)] == ["dynamic"]
    assert mixed_bases([candidate("dynamic", 3.0, drop=0.02, deviation=0.1)], FP32, GOAL) == []
    right = candidate("dynamic", 3.0, deviation=None)
    assert winner(candidate("static", 2.0), right) == "dynamic"
    assert winner(right, goal=Goal(Target.THROUGHPUT)) == "dynamic"
