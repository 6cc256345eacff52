"""The models' answers to the examples of the documentation. They are requested when a client reads
the documentation, and kept until another model file serves."""

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
"""Timeout for a model's answer. After it, the documentation is shown without the answer."""
KEPT_SECONDS = 60.0
"""Seconds before a model that was busy or too slow is asked again."""
MOST_BYTES = 2**15
"""Longer answers are not shown: nobody reads an example of that length."""


class ExampleAnswers:
    """Requests the answers like a client. ``inference`` should not count these requests."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        # All mutable state, by model: the examples that were tried, the result, and the time until
        # which it is kept.
        self._known: dict[str, tuple[Examples, Example, float]] = {}

    async def __call__(self, found: Sequence[Examples]) -> list[Example]:
        """Return the first example that each model answers, with its answers; the last example if
        the model answers none."""
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
        """Return an example, and True if the result may be kept: not if the model was busy."""
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
        """Return the answer; None if it is too long, or not in JSON.

        Raises:
            QuantserveError: the model refused the request, or failed.
            TimeoutError: the model did not answer within ``SECONDS``.
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
