"""Work ends when its client disconnects."""

import asyncio
from typing import Any

import pytest

from service.api.transport.disconnect import until_gone


async def never() -> dict[str, Any]:
    await asyncio.Event().wait()
    return {}


async def test_work_is_cancelled_when_the_client_disconnects() -> None:
    async def gone() -> dict[str, Any]:
        return {"type": "http.disconnect"}

    assert await until_gone(asyncio.sleep(60, "done"), gone) is None
    assert await until_gone(asyncio.sleep(0, "done"), never) == "done"


async def test_an_error_of_the_work_is_raised() -> None:
    async def fails() -> None:
        raise ValueError

    with pytest.raises(ValueError):
        await until_gone(fails(), never)
