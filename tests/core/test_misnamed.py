"""Messages about wrong names are complete and short."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.misnamed import misnamed

WANTED = ["age", "city", "income"]
NAMES = st.lists(st.sampled_from(["age", "city", "Age", "x", "y" * 100]), max_size=5)


@pytest.mark.parametrize(
    ("given_", "problem"),
    [
        (["city", "age", "income"], ""),
        (["age", "city"], 'column "income" is missing'),
        (["age", "city", "income", "zip"], 'unknown column "zip"'),
        (["age", "city", "Income"], 'unknown column "Income", perhaps "income" is meant; column'),
        (["age", "city", "incone"], 'unknown column "incone", perhaps "income" is meant; column'),
        (["age", "age", "city", "income"], 'column "age" is given 2 times'),
        ([f"c{i}" for i in range(20)], "and 12 more unknown"),
    ],
)
def test_missing_additional_and_misspelled_names_are_reported(
    given_: list[str], problem: str
) -> None:
    told = misnamed("column", given_, WANTED)
    assert problem in told if problem else told == ""


def test_optional_names_may_be_missing() -> None:
    assert misnamed("input", ["age"], ["age"], ["weight"]) == ""
    assert misnamed("input", ["weight", "age"], ["age"], ["weight"]) == ""
    assert 'perhaps "weight" is meant' in misnamed("input", ["age", "wieght"], ["age"], ["weight"])


@given(NAMES, NAMES)
def test_no_problem_is_reported_only_for_equal_names(one: list[str], other: list[str]) -> None:
    wanted = list(dict.fromkeys(other))
    assert (misnamed("input", one, wanted) == "") == (sorted(one) == sorted(wanted))


def test_the_list_of_repeated_names_is_bounded() -> None:
    names = [f"{number}{'n' * 1000}" for number in range(100)]
    told = misnamed("input", [*names, *names], names)
    assert "and 92 more given several times" in told
    assert len(told) < 8 * 250 + 50


def test_very_long_names_are_not_compared_or_shown() -> None:
    told = misnamed("column", ["n" * 10_000], ["n" * 9_999, *map(str, range(5000))])
    assert len(told) < 2_500 and "meant" not in told and "and 4993 more missing" in told
