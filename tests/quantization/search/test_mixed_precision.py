"""The search for what must stay in float, against models that are only predicates."""

from hypothesis import given
from hypothesis import strategies as st

from service.quantization.search.mixed_precision import fewest_in_float, names


def always() -> bool:
    return True


@given(st.integers(2, 40), st.data())
def test_the_fewest_worst_parts_are_found(count: int, data: st.DataObject) -> None:
    parts = [(f"n{i}",) for i in range(count)]
    needed = data.draw(st.integers(1, count - 1))

    def passes(nodes: tuple[str, ...]) -> bool:
        return set(names(parts[:needed])) <= set(nodes)

    assert fewest_in_float(parts, passes, always) == names(parts[:needed])


def test_a_part_that_was_ranked_too_high_gets_a_second_chance() -> None:
    parts = [("a",), ("b",), ("c",), ("d",), ("e",)]
    found = fewest_in_float(parts, lambda nodes: {"a", "c"} <= set(nodes), always)
    assert found == ("a", "c")


def test_nothing_is_found_where_nothing_helps() -> None:
    assert fewest_in_float([("a",), ("b",), ("c",)], lambda nodes: False, always) is None


def test_it_ends_when_the_time_is_up() -> None:
    assert fewest_in_float([("a",), ("b",)], lambda nodes: True, lambda: False) is None
