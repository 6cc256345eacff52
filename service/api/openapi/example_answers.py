"""Answers of the models to the examples of the documentation: requested when a client reads the
documentation, and kept as long as the same file serves."""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace
from math import inf
from time import monotonic

from service.api.dataplane.inference import Inference
from service.api.openapi.examples import Body, Example, Examples
from service.api.protocol.non_finite import loads
from service.api.transport.exchange import Exchange
from service.api.transport.target import Target
from service.core.errors import QuantserveError, RequestError
from service.core.tensors import Arrays

SECONDS = 2.0
"""For a model to answer: the documentation is shown without its answer after that."""
KEPT_SECONDS = 60.0
"""For which a model that was busy, or takes too long, is not asked again."""
MOST_BYTES = 2**15
"""An answer that is longer is no example that anybody would look at."""


class ExampleAnswers:
    """Asks like a client; ``inference`` should count nothing of it."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        # All mutable state: by model, for which examples, what was found, and until when it is
        # kept.
        self._known: dict[str, tuple[Examples, Example, float]] = {}

    async def __call__(self, found: Sequence[Examples]) -> list[Example]:
        """The first example of each model that it answers, with the answers; where it answers none
        of them, the last one."""
        results = await asyncio.gather(*map(self._of_model, found))
        pairs = zip(found, results, strict=True)
        again = monotonic() + KEPT_SECONDS
        self._known = {
            e.model: (asked, e, inf if lasting else self._until(asked, again))
            for asked, (e, lasting) in pairs
        }
        return [example for example, _ in results]

    def _until(self, asked: Examples, again: float) -> float:
        before = self._known.get(asked.choice[0].model)
        return before[2] if before and before[0] == asked and before[2] > monotonic() else again

    async def _of_model(self, asked: Examples) -> tuple[Example, bool]:
        """An example, and whether the next time would bring the same: not where the model was
        busy."""
        before = self._known.get(asked.choice[0].model)
        if before is not None and before[0] == asked and before[2] > monotonic():
            return before[1], before[2] == inf
        example, lasting = asked.choice[-1], True
        for each in asked.choice:
            try:
                answer = await self._ask("v2", each.model, each.infer)
            except QuantserveError as error:
                lasting = lasting and isinstance(error, RequestError)
                continue
            except TimeoutError:
                return each, False
            example = replace(each, infer_answer=answer)
            break
        if example.predict is not None:
            try:
                answer = await self._ask("v1", example.model, example.predict)
            except QuantserveError as error:
                return example, lasting and isinstance(error, RequestError)
            except TimeoutError:
                return example, False
            example = replace(example, predict_answer=answer)
        return example, lasting

    async def _ask(self, protocol: str, model: str, body: Body) -> Body | None:
        """The answer; None if it is too long, or not in JSON.

        Raises:
            QuantserveError: the model refused, or failed.
            TimeoutError
        """
        content = await asyncio.to_thread(lambda: json.dumps(body).encode())
        exchange = Exchange(Target(protocol, model, None), b"docs")
        reply: asyncio.Future[Arrays] = asyncio.get_running_loop().create_future()
        try:
            async with asyncio.timeout(SECONDS):
                answer = await self._inference.ask(exchange, {}, content, reply)
        except BaseException:
            reply.cancel()
            self._inference.abandon(exchange)
            raise
        finally:
            self._inference.finish(exchange)
        if answer.rest or answer.size > MOST_BYTES:
            return None
        found: Body = loads(bytes(answer.body))
        return found
