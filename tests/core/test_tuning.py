"""Choices from given measurements."""

import random

import pytest

from service.core.tuning import (
    GAIN,
    Candidate,
    Measured,
    Target,
    candidates,
    choose,
    confirm,
    fit,
    quantile,
)


def measured(
    rate: float,
    p50: float = 0.01,
    p99: float | None = None,
    rows: int = 1,
    kernels: str = "default",
    deviation: float = 0.0,
    instances: int = 1,
    threads: int = 1,
) -> Measured:
    seconds = (p50,) * 97 + (p99 or p50,) * 3
    of = Candidate(threads, instances, rows, kernels)
    return Measured(of, (rate * 0.99, rate, rate * 1.01), seconds, deviation)


DEFAULT = measured(100, p99=0.02)


def test_throughput_chooses_the_most_rows_a_second() -> None:
    best = measured(200, rows=8)
    choice = choose(DEFAULT, [measured(150), best], Target.THROUGHPUT)
    assert choice.chosen is best
    assert choice.gain == 2
    assert choice.unsure == ""


def test_a_small_gain_keeps_the_default() -> None:
    choice = choose(DEFAULT, [measured(100 * GAIN - 1)], Target.THROUGHPUT)
    assert choice.chosen is DEFAULT
    assert "no candidate is 5% better" in choice.why


def test_a_faster_candidate_with_other_answers_is_excluded() -> None:
    wrong, right = measured(300, deviation=0.01), measured(200, deviation=0.001)
    assert choose(DEFAULT, [wrong, right], Target.THROUGHPUT, tolerance=0.001).chosen is right


def test_a_candidate_above_the_p99_limit_is_excluded() -> None:
    slow, short = measured(300, p99=0.1), measured(200, p99=0.04)
    choice = choose(DEFAULT, [slow, short], Target.THROUGHPUT, p99=0.05)
    assert choice.chosen is short
    assert "within a p99 of 50 ms" in choice.why


def test_a_default_above_the_p99_limit_is_replaced_by_a_slower_candidate() -> None:
    short = measured(50, p99=0.01)
    assert choose(DEFAULT, [short], Target.THROUGHPUT, p99=0.015).chosen is short


def test_an_unreachable_p99_limit_is_reported() -> None:
    shorter = measured(50, p99=0.015)
    choice = choose(DEFAULT, [shorter], Target.THROUGHPUT, p99=0.001)
    assert choice.chosen is shorter
    assert "no candidate has a p99 of 1 ms" in choice.why


def test_latency_counts_runs_of_a_single_row() -> None:
    short, batch = measured(50, p50=0.004, threads=2), measured(400, p50=0.002, rows=8)
    assert choose(DEFAULT, [short, batch], Target.LATENCY).chosen is short


def test_latency_is_compared_with_a_default_of_one_row_and_one_instance() -> None:
    default = measured(100, p50=0.04, rows=4, instances=2)
    usual = measured(100, p50=0.01)
    lucky = measured(100, p50=0.008, instances=2)
    wide = measured(100, p50=0.007, threads=2)
    assert choose(default, [usual, lucky], Target.LATENCY).chosen is default
    assert choose(default, [usual, lucky, wide], Target.LATENCY).chosen is wide


def test_other_kernels_must_beat_the_best_with_the_default_kernels() -> None:
    same, other = measured(200), measured(202, kernels="exact")
    assert choose(DEFAULT, [same, other], Target.THROUGHPUT).chosen is same
    faster = measured(230, kernels="exact")
    assert choose(DEFAULT, [same, faster], Target.THROUGHPUT).chosen is faster


def rounds(rows: int, *rates: float) -> Measured:
    return Measured(Candidate(1, 1, rows, "default"), rates, (0.01,))


@pytest.mark.parametrize(
    ("again", "stays"),
    [
        ((90, 80, 130, 140, 150), True),  # better in three rounds of five
        ((90, 120, 130, 140, 150), False),
        ((101, 102, 103, 103, 104), True),  # no longer better by enough
    ],
)
def test_a_candidate_that_loses_the_confirmation_is_not_chosen(
    again: tuple[float, ...], stays: bool
) -> None:
    default, lucky = rounds(1, *[100] * 5), rounds(8, *[200] * 5)
    first = choose(default, [lucky], Target.THROUGHPUT)
    assert first.chosen is lucky
    found = rounds(8, *again)
    second = choose(default, [found], Target.THROUGHPUT, core_share=0.5)
    choice = confirm(first, second, Target.THROUGHPUT)
    assert choice.chosen is (default if stays else found)
    assert ("not when measured again" in choice.why) is stays
    assert choice.unsure


def test_the_default_needs_no_confirmation() -> None:
    first = choose(DEFAULT, [], Target.THROUGHPUT)
    assert confirm(first, first, Target.THROUGHPUT) is first


def test_a_default_above_the_p99_limit_is_not_restored_by_confirmation() -> None:
    short = measured(50, p99=0.01)
    first = choose(DEFAULT, [short], Target.THROUGHPUT, p99=0.015)
    choice = confirm(first, first, Target.THROUGHPUT, p99=0.015)
    assert choice.chosen is short
    assert "within a p99 of 15 ms" in choice.why


def test_latency_is_confirmed_by_a_second_choice() -> None:
    short = measured(90, p50=0.004, threads=2)
    first = choose(DEFAULT, [short], Target.LATENCY)
    assert confirm(first, first, Target.LATENCY).chosen is short
    second = choose(DEFAULT, [measured(90, p50=0.0099, threads=2)], Target.LATENCY)
    assert confirm(first, second, Target.LATENCY).chosen is DEFAULT


def test_a_busy_machine_makes_the_result_unsure() -> None:
    choice = choose(DEFAULT, [measured(200)], Target.THROUGHPUT, core_share=0.5)
    assert choice.unsure == "other programs ran: a busy thread got 50% of a core"


@pytest.mark.parametrize("seed", range(50))
@pytest.mark.parametrize("target", Target)
def test_every_choice_has_equal_answers_keeps_the_p99_and_is_not_slower(
    seed: int, target: Target
) -> None:
    dice = random.Random(seed)
    others = [
        measured(
            dice.uniform(10, 300), dice.uniform(0.001, 0.03), dice.uniform(0.03, 0.1),
            dice.choice((1, 4)), dice.choice(("default", "exact")), dice.choice((0.0, 0.1)),
            threads=2,
        )
        for _ in range(20)
    ]  # fmt: skip
    choice = choose(DEFAULT, others, target, p99=0.08, tolerance=0.01)
    chosen = choice.chosen
    assert chosen.deviation <= 0.01
    assert chosen.p99 <= 0.08
    if target is Target.THROUGHPUT:
        assert choice.gain >= 1
    else:
        assert chosen.p50 <= DEFAULT.p50


@pytest.mark.parametrize(
    ("cores", "forms"),
    [
        (1, {(1, 1)}),
        (2, {(1, 1), (1, 2), (2, 1)}),
        (6, {(1, 1), (1, 6), (2, 1), (2, 3), (4, 1), (6, 1)}),
    ],
)
def test_candidates_use_no_more_threads_than_cores(cores: int, forms: set[tuple[int, int]]) -> None:
    found = candidates(cores, (1, 2), ("default",))
    assert {(each.threads, each.instances) for each in found} == forms
    assert len(found) == len(set(found)) == 2 * len(forms)


def test_fit_finds_fixed_time_and_time_for_each_row() -> None:
    line = fit({rows: 0.003 + 0.002 * rows for rows in (1, 2, 4, 8)})
    assert line.fixed == pytest.approx(0.003)
    assert line.per_row == pytest.approx(0.002)


@pytest.mark.parametrize(
    ("seconds", "fixed", "per_row"),
    [
        ({4: 0.008}, 0.0, 0.002),
        ({1: 0.004, 2: 0.002}, 0.0024, 0.0),
        ({1: 0.001, 2: 0.004}, 0.0, 0.0012),
    ],
)
def test_fit_returns_no_negative_times(
    seconds: dict[int, float], fixed: float, per_row: float
) -> None:
    line = fit(seconds)
    assert line.fixed == pytest.approx(fixed)
    assert line.per_row == pytest.approx(per_row)


def test_quantiles_are_measured_values() -> None:
    values = list(range(1, 101))
    assert (quantile(values, 0.5), quantile(values, 0.99), quantile([7.0], 0.99)) == (50, 99, 7)


def test_a_candidate_is_printed() -> None:
    assert str(Candidate(1, 2, 8, "exact")) == (
        "2 instances x 1 thread, 8 rows a run, exact kernels"
    )
