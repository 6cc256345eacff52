"""The batcher of requests in text: tokenises texts, queues them, and returns the answers.

Texts are tokenised in one thread, a few texts of each request at a time, so that a long request
does not delay short ones. Their rows then enter the version's queue in groups of similar lengths, a
few groups of a request at a time.
"""

import asyncio
from bisect import insort
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import NamedTuple

from service.core.batching import BatchingMode, BatchPolicy
from service.core.errors import (
    ExecutionFailed,
    InputRejected,
    NotReady,
    QuantserveError,
    QueueFull,
    ShuttingDown,
)
from service.core.ledger import Mark
from service.core.queue_limit import is_full
from service.core.requests import Terms
from service.core.tensors import Arrays
from service.core.texts import MOST_CHARACTERS, MOST_TEXTS, Group, Prompt, Task, TextOptions
from service.core.waiting import WaitEstimate, until_room
from service.engine.runtime.replies import Reply
from service.engine.runtime.split_batcher import TensorBatcher
from service.engine.text.asked import Asked, GroupReply, Ready, groups
from service.engine.text.model import TextModel
from service.engine.text.tokenizer import Tokens

SLICE = 32 * 1024
"""Characters that are tokenised at a time, about 10 ms. If a request has tokens instead of text, a
token counts as one character."""
DEFAULTS = TextOptions()


class _Slice(NamedTuple):
    """Some texts of a request to tokenise."""

    asked: Asked
    prompts: Sequence[Prompt]
    first: int
    truncate: bool


class _Made(NamedTuple):
    """The result of a slice. ``ready`` has the groups if it was the last slice of its request."""

    asked: Asked
    tokens: list[Tokens]
    ready: list[Ready]
    error: QuantserveError | None = None


class TextBatcher:
    """The batcher of a version that also accepts texts. ``inner`` is the batcher for its tensors.

    It must be created on the event loop that it serves.
    """

    def __init__(
        self, label: tuple[str, int], model: TextModel, policy: BatchPolicy, inner: TensorBatcher
    ) -> None:
        self._label = f'model "{label[0]}" version {label[1]}'
        self.model = model
        self._policy = policy
        self._inner = inner
        self._loop = asyncio.get_running_loop()
        self._thread = ThreadPoolExecutor(1, f"{label[0]} tokens")
        self._groups = 2 * inner.instances
        # All mutable state: the requests without an answer; the requests with texts to tokenise,
        # the most urgent first; whether the thread is busy; whether the batcher is closed; the time
        # from one answer to the next while requests wait; and the future that callers of ``drain``
        # wait for.
        self._open: set[Asked] = set()
        self._waiting: deque[Asked] = deque()
        self._busy = False
        self._closed = False
        self._pace = WaitEstimate(inner.instances, policy.preferred_rows)
        self._drained: asyncio.Future[None] | None = None

    @property
    def free_marks(self) -> list[Mark]:
        """The marks of threads that have ended."""
        return self._inner.free_marks

    @property
    def waiting(self) -> int:
        """Requests that wait, including those that wait to be tokenised."""
        return self._inner.waiting + len(self._waiting)

    @property
    def in_flight(self) -> int:
        """Requests and groups of requests that were accepted and not yet answered."""
        return self._inner.in_flight + sum(not each.under_way for each in self._open)

    @property
    def busy(self) -> int:
        """Instances that are running a batch."""
        return self._inner.busy

    @property
    def instances(self) -> int:
        """Instances that can run batches in parallel."""
        return self._inner.instances

    def submit(
        self,
        arrays: Arrays,
        rows: int,
        terms: Terms,
        reply: Reply,
        *,
        alone: bool = False,
    ) -> None:
        """Queue a request in tensors; see ``DynamicBatcher.submit``."""
        self._inner.submit(arrays, rows, terms, reply, alone=alone)

    def submit_texts(
        self,
        prompts: Sequence[Prompt],
        terms: Terms,
        reply: Reply,
        options: TextOptions = DEFAULTS,
    ) -> Asked:
        """Accept a request in text. The reply gets the outputs of ``TextModel.signature`` that the
        terms ask for.

        Raises:
            QueueFull: the limit of requests without an answer is reached. Less urgent requests do
                not count towards it, up to twice the limit in all.
            InputRejected: there are too many texts, a text is too long, a list of tokens is empty,
                or the request asks for more dimensions than the embedding has.
            ShuttingDown: the batcher is closed.
        """
        if self._closed:
            raise ShuttingDown(f"{self._label} is being unloaded")
        self._check(prompts)
        self.model.check(options)
        self._check_room(terms.priority)
        asked = Asked(prompts, terms, options, reply)
        self._open.add(asked)
        insort(self._waiting, asked, key=_urgency)
        if not self._busy:
            # Run after the requests of the same turn of the loop have arrived: they are tokenised
            # together.
            self._busy = True
            self._loop.call_soon(self._next)
        return asked

    def withdraw(self) -> None:
        """Remove requests whose reply was cancelled."""
        for asked in [each for each in self._open if each.done()]:
            self._forget(asked)
        self._inner.withdraw()

    async def drain(self) -> None:
        """Wait until every accepted request has been answered."""
        if self._open:
            if self._drained is None:
                self._drained = self._loop.create_future()
            await asyncio.shield(self._drained)
        await self._inner.drain()

    def close(self, reason: str = "") -> None:
        """Accept no more requests, refuse those that wait, and end those that are running."""
        self._closed = True
        self._inner.close(reason)
        why: QuantserveError = ShuttingDown(f"{self._label} was unloaded during the request")
        if reason:
            why = NotReady(f"{self._label} is UNAVAILABLE: {reason}")
        for asked in list(self._open):
            self._resolve(asked, why)
        self._waiting.clear()
        self._thread.shutdown(wait=False)

    def _check_room(self, priority: int) -> None:
        count, limit = len(self._open), self._policy.max_queue
        if count < limit:
            return
        ahead = [each for each in self._open if each.terms.priority <= priority]
        if is_full(limit, count, count - len(ahead)):
            full = QueueFull(
                f"{self._label}: {count} requests in text are not answered yet, the limit is"
                f" {limit}"
            )
            texts = sum([each.missing for each in ahead])
            full.retry_after = until_room(texts * self._pace.pace)
            raise full

    def _check(self, prompts: Sequence[Prompt]) -> None:
        if not 0 < len(prompts) <= MOST_TEXTS:
            raise InputRejected(
                f"{self._label}: {len(prompts)} texts in one request, expected 1 to {MOST_TEXTS}"
            )
        for place, prompt in enumerate(prompts):
            if type(prompt) is list and not prompt:
                raise InputRejected(f"{self._label}: text {place} has no tokens")
            if _size(prompt) > MOST_CHARACTERS:
                raise InputRejected(
                    f"{self._label}: text {place} has {_size(prompt)} characters, the limit is"
                    f" {MOST_CHARACTERS}"
                )

    # Tokens.

    def _next(self) -> None:
        """Pass some texts of each waiting request to the thread, the most urgent requests first."""
        if self._closed:
            return
        slices, left = list[_Slice](), SLICE
        again = list[Asked]()
        while self._waiting and left > 0:
            asked = self._waiting.popleft()
            if asked.done():
                continue
            first = stop = len(asked.tokens)
            while stop < len(asked.prompts) and (left > 0 or stop == first):
                left -= _size(asked.prompts[stop])
                stop += 1
            wanted = asked.options.truncate
            truncate = self.model.settings.truncate if wanted is None else wanted
            slices.append(_Slice(asked, asked.prompts[first:stop], first, truncate))
            if stop < len(asked.prompts):
                again.append(asked)
        for asked in again:
            insort(self._waiting, asked, key=_urgency)
        self._busy = bool(slices)
        if slices:
            job = self._thread.submit(_tokenise, self.model, self._policy, slices)
            job.add_done_callback(
                lambda done: self._loop.call_soon_threadsafe(self._tokenised, done.result())
            )

    def _tokenised(self, made: list[_Made]) -> None:
        self._busy = False
        if self._closed:
            return
        for asked, tokens, ready, error in made:
            if asked.done():
                continue
            if error is not None:
                self._resolve(asked, error)
                continue
            asked.tokens += tokens
            if ready:
                asked.ready = ready
                self._enter(asked)
        if self._waiting:
            self._next()

    # Runs.

    def _enter(self, asked: Asked) -> None:
        """Reserve memory for the inputs of a request's groups, and begin to queue the groups."""
        try:
            if len(asked.ready) > 1:
                asked.reserve(sum([_bytes(each.arrays) for each in asked.ready]))
            self._go_on(asked)
        except QuantserveError as error:
            self._resolve(asked, error)

    def _go_on(self, asked: Asked) -> None:
        """Queue as many groups as can run at once, so that other requests run in between.

        Raises:
            QuantserveError: see ``DynamicBatcher.submit``.
        """
        if asked.entering:  # a group was answered at once, from a cache: the loop below continues
            return
        asked.entering = True
        try:
            while asked.ready and asked.under_way < self._groups and not asked.done():
                self._submit(asked, *asked.ready.pop(0))
        finally:
            asked.entering = False

    def _submit(self, asked: Asked, group: Group, arrays: Arrays) -> None:
        terms = asked.terms._replace(outputs=self.model.head.places, memory=None)
        rows = 1 if self._policy.mode is BatchingMode.REQUESTS else len(group.places)
        reply = GroupReply(asked, group, self._ended)
        asked.under_way += 1
        self._inner.submit(arrays, rows, terms, reply, alone=terms.alone, admitted=True)

    def _ended(self, asked: Asked, group: Group, result: Arrays | QuantserveError) -> None:
        if isinstance(result, QuantserveError):
            self._resolve(asked, result)
            self.withdraw()  # its other groups
            return
        try:
            if asked.put(group, result):
                self._finish(asked)
            else:
                self._go_on(asked)
        except QuantserveError as error:
            self._resolve(asked, error)
            self.withdraw()

    def _finish(self, asked: Asked) -> None:
        """Compute the answer. Token classification is slower, so it runs in the thread."""
        if self.model.settings.task is not Task.TOKEN_CLASSIFICATION or self._closed:
            self._resolve(asked, _finished(self.model, asked))
            return
        job = self._thread.submit(_finished, self.model, asked)
        job.add_done_callback(
            lambda done: self._loop.call_soon_threadsafe(self._resolve, asked, done.result())
        )

    def _resolve(self, asked: Asked, result: Arrays | QuantserveError) -> None:
        asked.resolve(result)
        self._forget(asked)
        self._pace.finished(len(asked.prompts), self._loop.time(), bool(self.waiting))

    def _forget(self, asked: Asked) -> None:
        asked.close()
        self._open.discard(asked)
        if self._drained is not None and not self._open:
            self._drained.set_result(None)
            self._drained = None


def _tokenise(model: TextModel, policy: BatchPolicy, slices: Sequence[_Slice]) -> list[_Made]:
    made = []
    for asked, prompts, first, truncate in slices:
        ready, tokens = list[Ready](), list[Tokens]()
        try:
            tokens = model.tokenizer.encode(prompts, first, truncate=truncate)
            if first + len(prompts) == len(asked.prompts):
                ready = groups(model, policy, [*asked.tokens, *tokens])
            made.append(_Made(asked, tokens, ready))
        except QuantserveError as error:
            made.append(_Made(asked, [], [], error))
        except Exception as error:
            failed = ExecutionFailed(f"the tokenizer failed: {type(error).__name__}")
            made.append(_Made(asked, [], [], failed))
    return made


def _finished(model: TextModel, asked: Asked) -> Arrays | QuantserveError:
    """Return the outputs that the request asks for, or the error."""
    try:
        outputs = model.finish(asked.found, asked.prompts, asked.tokens, asked.options)
    except QuantserveError as error:
        return error
    except Exception as error:
        failed = ExecutionFailed(f"the answer failed: {type(error).__name__}: {error}")
        failed.__cause__ = error
        return failed
    wanted = asked.terms.outputs
    return outputs if wanted is None else tuple([outputs[place] for place in wanted])


def _urgency(asked: Asked) -> int:
    return asked.terms.priority


def _size(prompt: Prompt) -> int:
    return len(prompt) if type(prompt) is not tuple else sum(map(len, prompt))


def _bytes(arrays: Arrays) -> int:
    return sum([array.nbytes for array in arrays])
