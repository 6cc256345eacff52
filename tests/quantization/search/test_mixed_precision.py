"""The search for parts that must stay in float, with predicates in place of models."""

from hypothesis import given
from hypothesis import strategies as st

from service.quantization.search.mixed_precision import fewest_in_float, names


def always() -> bool:
    return True


@given(st.integers(2, 40), st.data())
def test_the_fewest_sensitive_parts_are_found(count: int, data: st.DataObject) -> None:
    parts = [(f"n{i}",) for i in range(count)]
    needed = data.draw(st.integers(1, count - 1))

    def passes(nodes: tuple[str, ...]) -> bool:
        return set(names(parts[:needed])) <= set(nodes)

    assert fewest_in_float(parts, passes, always) == names(parts[:needed])


def test_parts_that_were_ranked_too_high_are_removed() -> None:
    parts = [("a",), ("b",), ("c",), ("d",), ("e",)]
    found = fewest_in_float(parts, lambda nodes: {"a", "c"} <= set(nodes), always)
    assert found == ("a", "c")


def test_nothing_is_found_if_no_part_helps() -> None:
    assert fewest_in_float([("a",), ("b",), ("c",)], lambda nodes: False, always) is None


def test_the_search_ends_at_its_time_limit() -> None:
    assert fewest_in_float([("a",), ("b",)], lambda nodes: True, lambda: False) is None
