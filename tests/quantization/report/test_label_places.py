"""Labels in a plot are beside their disc, and nothing covers them."""

from hypothesis import given
from hypothesis import strategies as st

from service.quantization.report.label_places import Box, Round, place

FRAME = Box(0, 0, 900, 500)


def test_a_single_label_lies_inside_its_disc() -> None:
    disc = Round(400, 200, 10)
    assert place(disc, 12, [disc], [], FRAME).within(Box(390, 190, 410, 210))


def test_a_label_that_is_too_wide_lies_above_its_disc() -> None:
    disc = Round(400, 200, 10)
    box = place(disc, 80, [disc], [], FRAME)
    assert box.bottom <= 190
    assert box.left < 400 < box.right


@given(
    st.lists(st.floats(20, 880), min_size=1, max_size=5),
    st.sampled_from([9.0, 24.0]),
)
def test_labels_of_close_discs_do_not_overlap(places: list[float], radius: float) -> None:
    discs = [Round(x, 200, radius) for x in places]
    taken: list[Box] = []
    for disc in discs:
        box = place(disc, 13, discs, taken, FRAME)
        assert box.within(FRAME)
        assert not any(box.meets(other) for other in taken)
        taken.append(box)
