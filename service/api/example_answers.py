"""What models answer to the examples of the documentation: found out by asking them, when somebody
wants to read it, and kept for as long as the same file serves.
"""

import asyncio
import json
from collections.abc import Sequence
from dataclasses import replace

from service.api.examples import Body, Example, Examples
from service.api.exchange import Exchange, Target
from service.api.inference import Inference
from service.api.non_finite import loads
from service.core.errors import QuantserveError
from service.core.tensors import Arrays

SECONDS = 2.0
"""For a model to answer; who wants to read the documentation waits no longer."""
MOST_BYTES = 2**15
"""An answer that is longer is no example that anybody would look at."""


class ExampleAnswers:
    """Asks like a client; ``inference`` should count nothing of it."""

    def __init__(self, inference: Inference) -> None:
        self._inference = inference
        # All mutable state: by model, what was found and for which examples.
        self._known: dict[str, tuple[Examples, Example]] = {}

    async def __call__(self, found: Sequence[Examples]) -> list[Example]:
        """The first example of each model that it answers, with the answers; where it answers none
        of them, the last one."""
        results = await asyncio.gather(*map(self._of_model, found))
        pairs = zip(found, results, strict=True)
        # What failed may work the next time: the model was busy.
        self._known = {e.model: (asked, e) for asked, e in pairs if e.infer_answer is not None}
        return results

    async def _of_model(self, asked: Examples) -> Example:
        before = self._known.get(asked.choice[0].model)
        if before is not None and before[0] == asked:
            return before[1]
        example = asked.choice[-1]
        for each in asked.choice:
            try:
                answer = await self._ask("v2", each.model, each.infer)
            except QuantserveError:
                continue
            except TimeoutError:
                return each
            example = replace(each, infer_answer=answer)
            break
        if example.predict is not None:
            try:
                answer = await self._ask("v1", example.model, example.predict)
            except (QuantserveError, TimeoutError):
                return example
            example = replace(example, predict_answer=answer)
        return example

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
