"""Creates the batcher of a loaded version, which accepts tensors, texts or prompts."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from service.config.model import ModelConfig
from service.core.events import Observer
from service.core.ledger import Mark
from service.core.run_limits import RunLimits
from service.core.sole_use import SoleUse
from service.engine.loading.loaded import Loaded
from service.engine.runtime.batcher import DynamicBatcher
from service.engine.runtime.cores import Cores, Share
from service.engine.runtime.session import new_control
from service.engine.runtime.split_batcher import Batcher, SplitBatcher, TensorBatcher

# Not imported by servers without language models, texts or response caches: they take memory.
if TYPE_CHECKING:
    from service.core.response_cache import ResponseCache


@dataclass(frozen=True, slots=True)
class BatcherParts:
    """What all batchers of a version have in common. ``new_mark``, ``limits`` and ``on_lost``: see
    ``DynamicBatcher``. With ``cores`` None they share no cores with other models."""

    label: tuple[str, int]
    config: ModelConfig
    observe: Observer
    new_mark: Callable[[], Mark]
    limits: RunLimits
    cores: Cores | None
    on_lost: Callable[[bool], None]

    def batcher(self, loaded: Loaded) -> "tuple[Batcher, ResponseCache | None]":
        """Return the batcher of a version, and its response cache, if it has one."""
        if loaded.language is not None:
            from service.engine.generation.batcher import GenerationBatcher

            generator = GenerationBatcher(
                self.label,
                loaded.language,
                self.observe,
                limit=loaded.policy.max_queue,
                timeout=loaded.policy.timeout,
                new_mark=self.new_mark,
                limits=self.limits,
                on_lost=self.on_lost,
                use=self._use,
            )
            return generator, None
        tensors, cache = self._cached(self._tensor_batcher(loaded), loaded)
        if loaded.text is None:
            return tensors, cache
        from service.engine.text.batcher import TextBatcher

        return TextBatcher(self.label, loaded.text, loaded.policy, tensors), cache

    @property
    def _use(self) -> SoleUse:
        return self.cores.use if self.cores else SoleUse()

    def _cached(
        self, batcher: TensorBatcher, loaded: Loaded
    ) -> "tuple[TensorBatcher, ResponseCache | None]":
        if not self.config.cache.max_bytes:
            return batcher, None
        from service.core.response_cache import ResponseCache
        from service.engine.runtime.cached_batcher import CachedBatcher

        cache, policy = ResponseCache(self.config.cache.max_bytes), loaded.policy
        timeout, limit = policy.timeout, policy.max_queue
        cached = CachedBatcher(
            self.label, batcher, cache, self.observe, timeout=timeout, limit=limit
        )
        return cached, cache

    def _tensor_batcher(self, loaded: Loaded) -> TensorBatcher:
        if loaded.extent is None:
            return self._dynamic(loaded, inline=False)
        inline, threaded = (self._dynamic(loaded, inline=each) for each in (True, False))
        if_sole = loaded.plan.if_sole
        return SplitBatcher(
            inline, threaded, loaded.extent, self.label[0], self._use, if_sole=if_sole
        )

    def _dynamic(self, loaded: Loaded, inline: bool) -> DynamicBatcher:
        weight = self.config.scheduling.weight
        share = Share(self.cores, weight, loaded.plan.threads) if self.cores else None
        return DynamicBatcher(
            self.label,
            loaded.policy,
            loaded.instances,
            self.observe,
            inline=inline,
            new_mark=self.new_mark,
            limits=self.limits,
            new_control=new_control,
            on_lost=self.on_lost,
            share=share,
            lone=loaded.lone,
        )
