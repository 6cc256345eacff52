"""From the texts of a request to the outputs of a text model."""

import asyncio
from collections.abc import Callable, Sequence
from typing import NamedTuple

from service.api.language.answers import Answers, Exchange
from service.api.transport.body import ClientGone, Receive
from service.api.transport.disconnect import until_gone
from service.core.errors import BadArgument, InputRejected, NotReady
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


def only_model(answers: Answers, task: Task, given: str | None) -> str:
    """Return the model that a request names, or else the only ready model with the task.

    Raises:
        BadArgument: several models have the task.
        NotReady: no model with the task is ready.
    """
    if given is not None:
        return given
    names = [
        version.model
        for version in answers.serving()
        if version.loaded and version.loaded.text and version.loaded.text.settings.task is task
    ]
    if not names:
        raise NotReady(f"no model with the task {task} is ready")
    if len(names) > 1:
        listed = ", ".join(f'"{name}"' for name in names)
        raise BadArgument(f'name one of the models {listed} as "model"', "model")
    return names[0]


async def encoded(values: Array, write: Callable[[], bytes]) -> bytes:
    """Return the result of ``write``; it runs in a thread if there are many values."""
    if values.size <= HERE_VALUES:
        return write()
    return await asyncio.to_thread(write)
