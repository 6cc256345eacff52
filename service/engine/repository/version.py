"""One version of a model: its state, and its batcher while it serves."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from functools import partial
from time import time
from typing import TYPE_CHECKING, cast

from service.config.model import ModelConfig
from service.core.batching import BatchingMode
from service.core.errors import InputRejected, NotReady
from service.core.events import Observer, StateChanged, ThreadLost
from service.core.ledger import Ledger, Work
from service.core.lifecycle import State, move
from service.core.padding import Padding
from service.core.requests import Terms
from service.core.run_limits import DEFAULT_TIMEOUTS, RunLimits
from service.core.tensors import Signature, Tensor
from service.engine.host.heap import free
from service.engine.loading.loaded import Loaded
from service.engine.repository.batchers import BatcherParts
from service.engine.runtime.cores import Cores
from service.engine.runtime.replies import Reply
from service.engine.runtime.split_batcher import Batcher
from service.engine.storage.folder import VersionFiles

# Not imported by servers without language models, texts or response caches: they take memory.
if TYPE_CHECKING:
    from service.core.images import ImageSettings
    from service.core.response_cache import ResponseCache
    from service.engine.generation.batcher import GenerationBatcher
    from service.engine.generation.language_model import LanguageModel
    from service.engine.text.batcher import TextBatcher

UNLOADED = "unloaded"
"""Why a version that was drained is not available."""
STUCK = (
    "a run did not stop at its time limit and its thread was abandoned; the thread keeps a core"
    " busy until it or the server ends; load the model or swap to try again"
)
# In Python 3.11 looking up a member of an enumeration takes ten times as long as a module's name.
_READY, _REQUESTS = State.READY, BatchingMode.REQUESTS
RETURN_SECONDS = 0.1
"""Seconds to wait until ended runs return, so that their requests are answered."""


class ModelVersion:
    """One version: its state, and its batcher while it is READY.

    ``run_timeout``: seconds that a run may take, if ``config`` sets no limit. ``when_lost`` is
    called when the version ends because a thread does not return from a run. ``cores`` are shared
    with other models; with None the version does not share cores.
    """

    def __init__(
        self,
        model: str,
        number: int,
        files: VersionFiles,
        config: ModelConfig,
        observe: Observer,
        revision: str = "",
        ledger: Ledger | None = None,
        run_timeout: float = DEFAULT_TIMEOUTS.run,
        when_lost: Callable[["ModelVersion"], None] = lambda _: None,
        cores: Cores | None = None,
    ) -> None:
        self.config = config
        self.model = model
        self.number = number
        self.files = files
        self.revision = revision
        self._observe = observe
        self._ledger = ledger or Ledger()
        self._limits = RunLimits(config.limits.run_timeout or run_timeout)
        self._when_lost = when_lost
        self._cores = cores
        # All mutable state: these change together, in `start`, `fail`, `begin_stop` and `_drain`.
        self._stopped: asyncio.Future[None] | None = None
        self.state = State.LOADING
        self.reason = ""
        self.loaded: Loaded | None = None
        self.batcher: Batcher | None = None
        self._cache: ResponseCache | None = None
        self.language = False
        self.images: ImageSettings | None = None
        self.since = 0.0
        # Set when the version takes over: the outputs that V1 answers, empty for all.
        self.v1_outputs: tuple[str, ...] = ()

    def start(self, loaded: Loaded) -> None:
        """Serve: the version is loaded and warm."""
        self.loaded = loaded
        self.language, self.since = loaded.language is not None, time()
        self.images = loaded.images
        parts = BatcherParts(
            (self.model, self.number),
            self.config,
            self._observe,
            partial(self._ledger.mark, Work(self.model, self.number)),
            self._limits,
            self._cores,
            self._lose,
        )
        self.batcher, self._cache = parts.batcher(loaded)
        self._move(State.READY, "")

    @property
    def cached_bytes(self) -> int:
        """Bytes in the response cache."""
        return self._cache.held if self._cache is not None else 0

    @property
    def promised_bytes(self) -> int:
        """Bytes by which the process may still grow as the version's caches fill."""
        caches = 0 if self._cache is None else self._cache.limit - self._cache.held
        return caches + (self.loaded.promised_bytes if self.loaded is not None else 0)

    def _lose(self, lost: bool) -> None:
        """Report that a thread does not return, or that it has returned after all.

        If it does not return, stop the version: further lost threads would leave it without
        threads. Its session stays in memory as long as the thread runs.
        """
        self._observe(ThreadLost(self.model, self.number, back=not lost))
        if not lost or self.batcher is None or self.state is not State.READY:
            return
        self._move(State.UNLOADING, "")
        self.batcher.close(STUCK)
        self._stopped = asyncio.ensure_future(self._let_go(STUCK))
        self._when_lost(self)

    def fail(self, reason: str) -> None:
        """Record why the version cannot serve."""
        self._move(State.UNAVAILABLE, reason)

    def begin_stop(self, drain_timeout: float, reason: str = UNLOADED) -> None:
        """Drain for at most ``drain_timeout`` seconds, then release everything. Does nothing to a
        version that is not READY. ``reason`` is the reason of the state UNAVAILABLE."""
        if self.batcher is not None and self._stopped is None:
            self._move(State.UNLOADING, "")
            self._stopped = asyncio.ensure_future(self._drain(drain_timeout, reason))

    async def stop(self, drain_timeout: float, reason: str = UNLOADED) -> None:
        """Drain, release, and wait until both are done. Cancelling the caller does not stop the
        drain."""
        self.begin_stop(drain_timeout, reason)
        if self._stopped is not None:
            await asyncio.shield(self._stopped)

    async def wait_idle(self, drain_timeout: float) -> bool:
        """Wait until all admitted requests are answered; return False on a timeout."""
        with suppress(TimeoutError):
            async with asyncio.timeout(drain_timeout):
                if self.batcher is not None:
                    await self.batcher.drain()
                return True
        return False

    async def _drain(self, drain_timeout: float, reason: str) -> None:
        """Release the sessions; metadata stays."""
        assert self.batcher is not None, "it is READY. This is a bug."
        await self.wait_idle(drain_timeout)
        self.batcher.close()
        await self.wait_idle(RETURN_SECONDS)
        await self._let_go(reason)

    async def _let_go(self, reason: str) -> None:
        assert self.batcher is not None and self.loaded is not None, "it was READY. This is a bug."
        for mark in self.batcher.free_marks:
            self._ledger.release(mark)
        heavy: list[object] = [self.batcher, self.loaded.instances, self.loaded.language]
        heavy += [self.loaded.text, self.loaded.lone]
        self.batcher = self._cache = None
        self.loaded = replace(self.loaded, instances=(), lone=None, language=None, text=None)
        await asyncio.to_thread(free, heavy)
        self._move(State.UNAVAILABLE, reason)

    def labels(self, output: str) -> tuple[str, ...]:
        """Return the class names of an output: those in model.toml, else those of the loaded
        version, if any."""
        found = self.config.outputs.get(output)
        if found and found.labels:
            return found.labels
        return self.loaded.labels.get(output, ()) if self.loaded else ()

    def submit(self, inputs: tuple[Tensor, ...], terms: Terms, reply: Reply) -> None:
        """Check a request against the signature and queue it.

        Raises:
            RequestError, TransientError: see ``Signature.check`` and ``DynamicBatcher.submit``.
        """
        loaded, batcher = self.serving()
        signature = loaded.signature
        if signature.texts is not None and signature.taking(inputs) is signature.texts:
            self._submit_texts(signature.texts, inputs, terms, reply)
            return
        arrays = signature.check(inputs)
        if loaded.only_rows and (rows := signature.rows(arrays)):
            batcher.submit(arrays, rows, terms, reply, alone=terms.alone)
            return
        whole, limit, rows = loaded.plan.mode is _REQUESTS, loaded.policy.max_rows, 1
        if signature.batchable:
            rows = signature.rows(arrays)
        elif signature.loose:
            rows = signature.common_rows(arrays)
            rows = rows if rows <= limit or loaded.policy.part_rows else 0
        alone = signature.may_stand_alone and signature.stands_alone(arrays)
        alone = alone or not rows or terms.alone
        # A request that is run whole counts as one row, if its rows are within the limit.
        counted = 1 if (whole or not rows) and rows <= limit else rows
        batcher.submit(arrays, counted, terms, reply, alone=alone)

    def _submit_texts(
        self, signature: Signature, inputs: tuple[Tensor, ...], terms: Terms, reply: Reply
    ) -> None:
        from service.core.texts import prompts_of

        self.texts().submit_texts(prompts_of(signature, inputs), terms, reply)

    def texts(self) -> "TextBatcher":
        """Return the batcher for requests in text.

        Raises:
            NotReady: the version does not serve.
            InputRejected: the version does not accept texts.
        """
        loaded, batcher = self.serving()
        if loaded.text is None:
            why = f": {loaded.text_note}" if loaded.text_note else ""
            raise InputRejected(
                f'model "{self.model}" takes no texts{why}; it takes {loaded.signature.takes}'
            )
        return cast("TextBatcher", batcher)

    def generation(self) -> "tuple[LanguageModel, GenerationBatcher]":
        """Return the language model and its batcher.

        Raises:
            NotReady: the version does not serve.
            InputRejected: the version is no language model.
        """
        loaded, batcher = self.serving()
        if loaded.language is None:
            raise InputRejected(
                f'model "{self.model}" is no language model: it takes {loaded.signature.takes};'
                f" send them to /v2/models/{self.model}/infer"
            )
        return loaded.language, cast("GenerationBatcher", batcher)  # `start` made it

    @property
    def signature(self) -> Signature:
        """The inputs and outputs of the version.

        Raises:
            NotReady: the version does not serve.
        """
        loaded = self.loaded
        if loaded is None or self.state is not _READY:  # as in serving(), whose call takes longer
            loaded, _ = self.serving()
        return loaded.signature

    @property
    def padding(self) -> Padding | None:
        """The padding of variable lengths, or None if the version does not pad.

        Raises:
            NotReady: the version does not serve.
        """
        return self.serving()[0].policy.padding

    def withdraw(self) -> None:
        """Remove requests whose reply was cancelled from the queue."""
        if self.batcher is not None:
            self.batcher.withdraw()

    def serving(self) -> tuple[Loaded, Batcher]:
        """Return the loaded version and its batcher.

        Raises:
            NotReady: the version does not serve; the message has its state and the reason.
        """
        loaded, batcher = self.loaded, self.batcher
        if loaded is None or batcher is None or self.state is not _READY:
            why = f": {self.reason}" if self.reason else ""
            raise NotReady(f'model "{self.model}" version {self.number} is {self.state}{why}')
        return loaded, batcher

    def _move(self, state: State, reason: str) -> None:
        self.state, self.reason = move(self.state, state), reason
        self._observe(StateChanged(self.model, self.number, state, reason))
