from pathlib import Path
from threading import current_thread

import pytest

from service.engine.generation.decoder import Decoder
from service.engine.generation.sampling import Floats
from service.engine.loading.lanes import choose, counts, measure
from tests.engine.generation.tiny_batcher import language


@pytest.mark.parametrize(
    ("cores", "slots", "tried"),
    [(1, 8, [1]), (2, 8, [1, 2]), (6, 8, [1, 2, 4, 6]), (64, 8, [1, 2, 4, 8]), (8, 1, [1])],
)
def test_the_numbers_of_lanes_that_are_tried(cores: int, slots: int, tried: list[int]) -> None:
    assert counts(cores, slots) == tried


@pytest.mark.parametrize(
    ("rates", "chosen"),
    [
        ({1: 100.0}, 1),
        ({1: 100.0, 2: 180.0}, 2),
        ({1: 100.0, 2: 105.0}, 1),
        ({1: 100.0, 2: 90.0, 4: 150.0}, 4),
        ({1: 100.0, 2: 180.0, 4: 185.0}, 2),
    ],
)
def test_more_threads_are_chosen_only_if_clearly_faster(
    rates: dict[int, float], chosen: int
) -> None:
    assert choose(rates) == chosen


def test_concurrent_threads_share_all_rows(tmp_path: Path) -> None:
    first = language(tmp_path).decoders[0]
    ran: list[tuple[str, int]] = []

    class Noted(Decoder):
        def next(self, tokens: list[int], lengths: list[int], next_row_tokens: int = 0) -> Floats:  # type: ignore[override]
            ran.append((current_thread().name, len(tokens)))
            return super().next(tokens, lengths)

    def made(rows: int) -> Decoder:
        found = first.beside(rows, 64)
        found.__class__ = Noted
        return found

    rates = measure([1, 2], 8, made)
    assert all(rate > 0 for rate in rates.values())
    assert {rows for _, rows in ran} == {8, 4}
