"""A ballot votes in order, and returns or raises the verdict with its reason."""

import asyncio
from collections.abc import Mapping
from typing import Any

import pytest

from service.core.checks import Check
from service.core.errors import GateFailed
from service.workers.ballot import Ballot


def verdict(yes: bool, place: int = 0, **more: object) -> dict[str, Any]:
    found = {"round": place, "yes": yes, "reason": "", "checks": [], "again": False, "leads": True}
    return found | more


async def test_yes_allows_the_switch_and_no_has_the_reason() -> None:
    told: list[Mapping[str, Any]] = []
    ballot = Ballot(4, False, told.append)
    waiting = asyncio.ensure_future(ballot.agree("m", 2))
    await asyncio.sleep(0)
    assert told[0]["yes"] and (told[0]["change"], told[0]["version"]) == (4, 2)
    ballot.take(verdict(True))
    await waiting
    assert ballot.leads
    ballot.refuse(3, GateFailed("m", "too slow", (Check("speed", "ratio", 2.0, 1.0, False),)))
    assert told[1]["reason"] == "too slow" and told[1]["checks"][0]["name"] == "speed"
    ballot.take(verdict(False, 1))
    waiting = asyncio.ensure_future(ballot.agree("m", 1))
    await asyncio.sleep(0)
    ballot.take(verdict(False, 2, reason="worker 1: why", checks=told[1]["checks"], again=True))
    with pytest.raises(GateFailed, match="worker 1: why") as caught:
        await waiting
    assert caught.value.again and caught.value.checks[0].measured == 2.0
