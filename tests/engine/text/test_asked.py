from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core.batching import BatchingMode, BatchPolicy
from service.core.errors import ExecutionFailed, MemoryFull, QuantserveError
from service.core.memory_budget import Reservation
from service.core.padding import Padding
from service.core.requests import Terms
from service.core.tensors import Arrays
from service.core.texts import Group, TextOptions
from service.engine.text.asked import Asked, GroupReply, groups
from service.engine.text.tokenizer import Tokens
from tests import tiny_texts
from tests.engine.text.made import text_model


class Told:
    """A reply that records its results and errors."""

    def __init__(self) -> None:
        self.results: list[Any] = []

    def done(self) -> bool:
        return bool(self.results)

    def set_result(self, outputs: Arrays) -> None:
        self.results.append(outputs)

    def set_exception(self, error: BaseException) -> None:
        self.results.append(error)


def asked(count: int, terms: Terms | None = None) -> tuple[Asked, Told]:
    reply = Told()
    return Asked([f"text {i}" for i in range(count)], terms or Terms(), TextOptions(), reply), reply


def test_rows_are_returned_in_the_order_of_the_texts() -> None:
    request, _ = asked(3)
    first, second = Group((2, 0), 5), Group((1,), 3)
    assert not request.put(first, (np.array([[2.0], [0.0]]),))
    assert request.put(second, (np.array([[1.0]]),))
    assert [row.tolist() for row in request.found[0]] == [[0.0], [1.0], [2.0]]


def test_a_request_is_answered_once() -> None:
    request, reply = asked(1)
    request.resolve(ExecutionFailed("first"))
    request.resolve(ExecutionFailed("second"))
    assert [str(each) for each in reply.results] == ["first"] and request.done()


def test_memory_is_reserved_for_all_texts_and_released() -> None:
    sizes: list[int] = []
    released: list[int] = []

    class Held(Reservation):
        def __init__(self, size: int) -> None:
            self.size = size

        def release(self) -> None:
            released.append(self.size)

    def memory(size: int) -> Reservation:
        sizes.append(size)
        return Held(size)

    request, _ = asked(4, Terms(memory=memory))
    request.put(Group((0,), 3), (np.zeros((1, 2), np.float32),))
    assert sizes == [4 * 8] and not released
    request.close()
    request.close()
    assert released == sizes


def test_a_lack_of_memory_is_an_error_of_the_request() -> None:
    def memory(size: int) -> None:
        raise MemoryFull("no room")

    request, _ = asked(2, Terms(memory=memory))
    with pytest.raises(MemoryFull):
        request.put(Group((0,), 3), (np.zeros((1, 2)),))


def test_a_group_passes_its_result_to_its_request() -> None:
    request, reply = asked(1)
    ended: list[tuple[Group, Arrays | QuantserveError]] = []
    group = Group((0,), 1)
    part = GroupReply(request, group, lambda _, which, result: ended.append((which, result)))
    error = ExecutionFailed("no")
    part.set_result(())
    part.set_exception(error)
    assert ended == [(group, ()), (group, error)] and not part.done()
    reply.set_result(())
    assert part.done()


PADDING = Padding((4, 8), (0.0,) * 3, ((True,),) * 3, ())


@pytest.mark.parametrize(
    ("policy", "shapes"),
    [
        (BatchPolicy(padding=PADDING, run_tokens=16), [(2, 8), (3, 4)]),
        (BatchPolicy(run_tokens=8), [(1, 8), (1, 7), (2, 4), (1, 3)]),
        (BatchPolicy(mode=BatchingMode.ROWS), [(1, 8), (1, 7), (2, 4), (1, 3)]),
        (BatchPolicy(mode=BatchingMode.REQUESTS), [(1, 8), (1, 7), (1, 4), (1, 4), (1, 3)]),
    ],
)
def test_groups_follow_the_batching_policy(
    tmp_path: Path, policy: BatchPolicy, shapes: list[tuple[int, int]]
) -> None:
    model = text_model(tmp_path, tiny_texts.embedder)
    tokens = [Tokens([5] * length, [0] * length) for length in (3, 8, 4, 7, 4)]
    found = groups(model, policy, tokens)
    assert [each.arrays[0].shape for each in found] == shapes
    assert [(len(each.group.places), each.group.longest) for each in found] == shapes
    for each in found:
        lengths = [len(tokens[place].ids) for place in each.group.places]
        assert each.arrays[1].sum(axis=1).tolist() == lengths
