"""A request in progress, and the watch for exchanges that take too long."""

import asyncio
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest

from service.api.transport.exchange import Admitted, LookOut
from service.core.requests import InferRequest
from service.core.tensors import DATATYPES, Signature, Tensor
from tests.api.tables import spec


@dataclass(eq=False)
class Watched:
    raises: bool = False
    looks: list[float] = field(default_factory=list)

    def look(self, now: float) -> None:
        self.looks.append(now)
        if self.raises:
            raise ValueError("broken")


async def test_an_open_exchange_is_checked_until_it_is_closed() -> None:
    look_out, one, other = LookOut(), Watched(), Watched()
    look_out.open(one)
    look_out.open(other)
    while not other.looks:
        await asyncio.sleep(0.01)
    look_out.close(one)
    seen, more = len(one.looks), len(other.looks)
    while len(other.looks) == more:
        await asyncio.sleep(0.01)
    assert len(one.looks) == seen > 0 and len(look_out) == 1
    look_out.close(other)


async def test_a_failed_check_does_not_affect_other_exchanges(
    caplog: pytest.LogCaptureFixture,
) -> None:
    look_out, broken, other = LookOut(), Watched(raises=True), Watched()
    look_out.open(broken)
    look_out.open(other)
    while len(other.looks) < 2:
        await asyncio.sleep(0.01)
    assert len(broken.looks) == 1 and "ValueError: broken" in caplog.text
    look_out.close(other)


def rows(signature: Signature, **arrays: np.ndarray) -> int:
    given = tuple(Tensor(name, DATATYPES["FP32"], array) for name, array in arrays.items())
    version: Any = None
    return Admitted(InferRequest(given), version, signature).rows()


def test_rows_are_counted_from_the_inputs() -> None:
    by_rows = Signature((spec("x", "FP32", "batch", 2),), (spec("y", "FP32", "batch"),))
    assert rows(by_rows, x=np.zeros((5, 2), np.float32)) == 5
    of_one = Signature((spec("x", "FP32", 2, 2),), (spec("y", "FP32", 2),))
    assert rows(of_one, x=np.zeros((2, 2), np.float32)) == 1
