"""Brings one version to READY: loads it, compares it with the live version, warms it up, judges it.

Only decisions run on the event loop; slow work runs in a thread. A version that fails becomes
UNAVAILABLE with the reason, and its memory is freed; the serving version is not affected.

The threads have normal priority. With a lower one (nice 10) the 99th percentile of requests during
swaps was one and a half to two times as long: a low-priority thread that is preempted while it
holds the interpreter lock delays all others.
"""

import asyncio
import os
from contextlib import AbstractContextManager
from dataclasses import replace

from service.config.model import GateConfig, ModelConfig
from service.core.checks import Check, failures
from service.core.compatibility import (
    Comparison,
    compare_signatures,
    too_many_rows,
    unremembered,
)
from service.core.errors import GateFailed
from service.core.events import StateChanged, ThreadLost
from service.core.gate import ALLOW_CHANGE, keep_v1_by, signature_check
from service.core.ledger import UNNOTED, Work
from service.core.lifecycle import State
from service.core.tensors import Signature
from service.engine.host.heap import forget_frames, free
from service.engine.loading.loaded import Loaded
from service.engine.loading.loader import open_version
from service.engine.loading.rehearsal import rehearse
from service.engine.loading.thread import LoadingThread
from service.engine.loading.tuning_file import with_tuning
from service.engine.loading.warm_up import warm_up
from service.engine.repository.context import Context
from service.engine.repository.gate import (
    budget_check,
    golden_checks,
    language_golden_checks,
    room_check,
    room_left,
    run_rows,
    speed_against,
)
from service.engine.repository.report import Report
from service.engine.repository.rollout_options import Cause, Pinning, RolloutOptions
from service.engine.repository.version import ModelVersion
from service.engine.runtime.session import new_control
from service.engine.storage.golden import GoldenSet, read_golden


class Rollout:
    """The rollout of one version.

    ``report`` grows while it runs; ``v1_outputs``: see ``ModelVersion``. ``gate`` has the limits
    that apply now, also to a version that was loaded before they were set. ``proven``: this server
    has loaded these files before.
    """

    def __init__(
        self,
        version: ModelVersion,
        live: ModelVersion | None,
        options: RolloutOptions,
        context: Context,
        gate: GateConfig,
        *,
        proven: bool = False,
    ) -> None:
        self.version = version
        self.v1_outputs = version.v1_outputs
        self._needs_pin = False
        self.proven = proven
        self._live = live.loaded if live else None
        self._live_v1_outputs = live.v1_outputs if live else ()
        self._options = options
        self._context = context
        self._gate = gate
        seconds = version.config.limits.load_timeout or context.timeouts.load
        self._control = new_control()
        self._thread = LoadingThread(self._control, seconds, _Lost(version, context))
        self.report = Report((version.model, version.number), self._thread, context.observe)

    @property
    def loaded(self) -> bool:
        """True if this rollout loaded the version, or tried to; False if it was READY before."""
        return any(phase.name == "load" for phase in self.report.phases)

    @property
    def forced(self) -> str:
        """The checks that failed and were waived, for people."""
        return failures(self.report.checks)

    async def prepare(self) -> None:
        """Bring the version from LOADING to READY.

        Raises:
            GateFailed: the version does not load, or does not pass; it is UNAVAILABLE now.
        """
        version = self.version
        self._context.observe(StateChanged(version.model, version.number, version.state, ""))
        try:
            with self._at_work():
                loaded = await self._load()
        except Exception as error:
            loaded = None
            self.report.refuse("load", error)
            forget_frames(error)
        except BaseException as error:
            version.fail(f"loading was interrupted: {type(error).__name__}")
            raise
        if loaded is not None and not self._refusals():
            version.start(loaded)
            return
        heavy: list[object] = [loaded]
        del loaded
        await asyncio.to_thread(free, heavy)
        version.fail(self._reason())
        raise self._failure()

    async def judge(self) -> None:
        """Check a READY version again: the version or the golden set that it is compared with may
        have changed.

        Raises:
            GateFailed: the version does not pass; it stays READY.
        """
        loaded, _ = self.version.serving()
        self._compare(loaded.signature)
        if not self._refusals():
            try:
                with self._at_work():
                    await self._judge(loaded)
            except Exception as error:
                self.report.refuse("gate", error)
        if self._refusals():
            raise self._failure()

    def _at_work(self) -> AbstractContextManager[None]:
        version = self.version
        return self._context.ledger.at_work(Work(version.model, version.number))

    async def _load(self) -> Loaded | None:
        """Load the version; None if a failed check already rules it out."""
        version, context = self.version, self._context
        if context.memory_budget:
            with self.report.phase("room"):
                path, budget = version.files.model, context.memory_budget
                promised = context.promised() + version.config.cache.max_bytes
                await self.report.check("memory", room_check, path, budget, promised)
            if self._refusals():
                return None
        config, note = version.config, ""
        if context.tuned:
            config, note = await self._thread.run(with_tuning, version.files, config, context.cores)
        if context.rehearse and self._options.cause is not Cause.START and not self.proven:
            await self._rehearse(config)
            if self._refusals():
                return None
        custom = context.allow_custom_ops
        opened = await self.report.run(
            "load", open_version, version.files, config, custom, self._control
        )
        if opened is None:
            return None
        self._compare(opened.signature)
        if self._refusals():
            return None
        most = None
        if context.memory_budget:
            most = context.memory_budget - context.promised()
        loaded = await self.report.run(
            "warm-up", warm_up, opened, config, context.cores, most, context.lone_cores
        )
        if loaded is not None:
            loaded = replace(loaded, tuning_note=note)
            self._compare_rows(loaded)
            await self._judge(loaded)
        return loaded

    async def _rehearse(self, config: ModelConfig) -> None:
        """Load the version in a separate process, which may crash or be stopped."""
        version, context = self.version, self._context
        with self.report.phase("rehearsal"):
            room = None
            if context.memory_budget and not self._options.force:
                path, budget = version.files.model, context.memory_budget
                room = await asyncio.to_thread(room_left, path, budget, context.promised())
            control, custom = self._control, context.allow_custom_ops

            def stop() -> bool:
                return bool(control.terminate)

            await self.report.check(
                "load", rehearse, version.files, config, room, stop, allow_custom_ops=custom
            )

    def _compare(self, signature: Signature) -> None:
        if self._live is None:
            self.report.skip("signature", "nothing serves yet")
            given = {spec.name for spec in signature.outputs}
            self.v1_outputs = tuple(name for name in self._options.v1_outputs if name in given)
            return
        with self.report.phase("signature") as told:
            found = self._comparison(self._live.signature, signature)
            self.v1_outputs = () if found.broken else found.v1_outputs
            self._needs_pin = found.needs_pin
            check = signature_check(found)
            self.report.checks.append(check)
            if check.passed and (found.widened or found.v1_outputs):
                told.append(str(check.measured))

    def _compare_rows(self, loaded: Loaded) -> None:
        """Check that requests to the live version do not have too many rows for the new version.

        Applies to a new version that runs each request whole, which only its warm-up shows. A limit
        in model.toml was already compared with the signature.
        """
        if self._live is None or loaded.policy.part_rows:
            return
        most = loaded.policy.max_rows
        broken = tuple(too_many_rows(self._live.signature, loaded.signature, most))
        if broken and self.version.config.batching.max_batch_size is None:
            self.report.checks.append(signature_check(Comparison(broken, ())))

    def _comparison(self, live: Signature, new: Signature) -> Comparison:
        """Compare the signatures, as clients of the live version need the new one.

        Outputs that V1 leaves out count only if a pin stores them: only a pin survives a restart.
        """
        options, max_rows = self._options, self.version.config.batching.max_batch_size
        found = compare_signatures(live, new, max_rows, self._live_v1_outputs)
        if options.allow_signature_change:
            return replace(found, v1_outputs=())
        if options.pinning is Pinning.SET or options.v1_outputs == found.v1_outputs:
            return found
        return unremembered(found, live, new, self._live_v1_outputs)

    async def _judge(self, loaded: Loaded) -> None:
        """Check golden rows, memory and speed: always all, so that the report is complete."""
        gate, budget = self._gate, self._context.memory_budget
        golden = await self._golden(loaded)
        if golden is None and self._live is not None and self._live.rows:
            await self._run_rows(self._live, loaded)
        if budget:
            with self.report.phase("memory"):
                promised = self._context.promised()
                if self.version.state is not State.READY:
                    promised += loaded.promised_bytes + self.version.config.cache.max_bytes
                await self.report.check("memory", budget_check, budget, promised)
        if gate.max_slowdown is not None and self._live is not None:
            await self._race(self._live, loaded, golden, gate.max_slowdown)

    async def _run_rows(self, live: Loaded, loaded: Loaded) -> None:
        """Run the rows that were generated for the live version: the new version must run them
        too."""
        if any(check.name == "signature" and not check.passed for check in self.report.checks):
            self.report.skip("rows", "the live version has other inputs")
            return
        with self.report.phase("rows"):
            await self.report.check("rows", run_rows, live, loaded, self._control)

    async def _race(
        self, live: Loaded, loaded: Loaded, golden: GoldenSet | None, limit: float
    ) -> None:
        if golden is None:
            self.report.skip("speed", "there are no golden rows")
        elif live.signature.inputs != loaded.signature.inputs:
            self.report.skip("speed", "the live version has other inputs")
        else:
            with self.report.phase("speed"):
                await self.report.check(
                    "speed", speed_against, live, loaded, golden, limit, self._control
                )

    async def _golden(self, loaded: Loaded) -> GoldenSet | None:
        path, gate, report = self.version.files.golden, self._gate, self.report
        if await report.caught("golden", os.path.lexists, path) is False and not gate.outputs:
            report.skip("golden", f"there is no {path.name}")
            return None
        with report.phase("golden"):
            if (language := loaded.language) is not None:
                checks = await report.caught(
                    "golden", language_golden_checks, language, path, gate, self._control
                )
                report.checks += checks or []
                return None
            before = len(report.checks)
            golden = await report.caught("golden", read_golden, path, loaded.signature)
            if len(report.checks) == before:
                checks = await report.caught(
                    "golden", golden_checks, loaded, golden, gate, self._control
                )
                report.checks += checks or []
        return golden

    def _refusals(self) -> list[Check]:
        return [c for c in self.report.checks if not c.passed and not self._options.waives(c)]

    def _reason(self) -> str:
        refusals = self._refusals()
        hints = [self._hint()] if any(c.name == "signature" for c in refusals) else []
        return "; ".join([failures(refusals), *hints])

    def _hint(self) -> str:
        if self._needs_pin:
            return keep_v1_by(self.version.model, self.version.number)
        return ALLOW_CHANGE

    def _failure(self) -> GateFailed:
        version = self.version
        what = f'model "{version.model}" version {version.number} is not fit to serve'
        return GateFailed(what, self._reason(), tuple(self.report.checks))


class _Lost:
    """Reports a thread that does not return.

    Not a method of ``Rollout``: the reference cycle would live until a garbage collection, and keep
    the live version's session in memory.
    """

    def __init__(self, version: ModelVersion, context: Context) -> None:
        self._work = Work(version.model, version.number)
        self._ledger, self._observe = context.ledger, context.observe
        self._mark = UNNOTED

    def __call__(self, lost: bool) -> None:
        self._observe(ThreadLost(*self._work, back=not lost))
        if lost:
            # The thread is still running, and may still crash the server.
            self._mark = self._ledger.mark(self._work)
            self._mark.begin()
        else:
            self._ledger.release(self._mark)
