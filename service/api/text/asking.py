"""From the texts of a request to the outputs of a text model."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from service.api.language.answers import Answers, Exchange
from service.api.transport.body import ClientGone, Receive
from service.api.transport.disconnect import until_gone
from service.core.errors import InputRejected
from service.core.requests import Terms
from service.core.sizes import HERE_VALUES
from service.core.tensors import Array, Arrays
from service.core.texts import Prompt, Task, TextOptions
from service.engine.text.model import TextModel


class Outputs(NamedTuple):
    """The outputs of a model for some texts, and the number of tokens that it read."""

    model: TextModel
    arrays: Arrays
    tokens: int


async def outputs(
    answers: Answers,
    exchange: Exchange,
    receive: Receive,
    task: Task,
    prompts: Sequence[Prompt],
    options: TextOptions,
) -> Outputs:
    """Run the model that the exchange names, and return its outputs.

    Raises:
        NotFound, NotReady: the model does not exist, or it is not ready.
        InputRejected: the model has another task, accepts no texts, or refuses one of these texts.
        QueueFull, DeadlineExceeded, MemoryFull: the server is overloaded.
        ClientGone: the client disconnected.
    """
    version = answers.choose(exchange, exchange.model, None)
    batcher = version.texts()
    model = batcher.model
    if model.settings.task is not task:
        raise InputRejected(
            f'model "{exchange.model}" has the task {model.settings.task}, expected {task}'
        )
    reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
    asked = batcher.submit_texts(prompts, Terms(memory=answers.memory), reply, options)
    try:
        found = await until_gone(reply, receive)
    finally:
        if reply.cancelled():
            version.withdraw()
    if found is None:
        raise ClientGone
    exchange.rows = len(prompts)
    return Outputs(model, found, asked.counted)


async def encoded(values: Array, write: Callable[[], bytes]) -> bytes:
    """Return the result of ``write``; it runs in a thread if there are many values."""
    if values.size <= HERE_VALUES:
        return write()
    return await asyncio.to_thread(write)
