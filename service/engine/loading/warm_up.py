"""Warms up a version that is open: probes it, plans how to run it, and creates its instances.

Blocks; is called in a thread.
"""

import os
from collections.abc import Sequence
from pathlib import Path
from time import perf_counter
from typing import TYPE_CHECKING

import numpy as np

from service.config.model import ModelConfig
from service.core.batching import BatchPolicy
from service.core.errors import LoadFailed
from service.core.lone import LoneCores
from service.core.tensors import Arrays
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.machine import read_machine
from service.engine.cpu.profile import Profile
from service.engine.host.heap import trim_heap
from service.engine.host.resources import memory_limit, resident_bytes
from service.engine.loading.advice import sharing_runs
from service.engine.loading.loaded import Loaded, Opened, with_texts
from service.engine.loading.plan import Plan, divided_rows, room_for_lone
from service.engine.loading.promise import note_on, read_promise
from service.engine.loading.row_limit import part_rows, refusal
from service.engine.loading.samples import trial_rows
from service.engine.loading.tuning import Tuned, tune
from service.engine.onnx_file.snapshot import Snapshot
from service.engine.runtime.execution import Instance
from service.engine.runtime.session import Session
from service.engine.storage.class_names import class_names
from service.engine.storage.folder import VersionFiles

# Imported only for models that need them: they take memory.
if TYPE_CHECKING:
    from service.engine.loading.language import LanguageParts
    from service.engine.text.model import TextModel

KEPT_BYTES = 4 * 2**20


def warm_up(
    opened: Opened,
    config: ModelConfig,
    cores: int,
    most_bytes: int | None = None,
    lone_cores: LoneCores | None = None,
) -> Loaded:
    """Warm up a version, probe how it handles batches, and plan how to run it.

    The process may grow to ``most_bytes``, including the full cache of a language model; None for
    the limit of the machine. ``lone_cores`` are the cores of a run that begins while no other is
    in progress, None for ``cores``.

    Raises:
        LoadFailed: with the reason, written for the model's operator.
    """
    if opened.language is not None:
        return _warm_up_language(opened, opened.language, config, cores, most_bytes)
    started, session, summary = perf_counter(), opened.session, opened.summary
    golden, text, made = opened.files.golden, opened.text, list[Arrays]()
    if text is not None:
        from service.engine.loading.text import example_rows, for_texts, text_policy

        config, made = for_texts(config, session.signature, text), example_rows(text)
    rows, note = trial_rows(session.signature, golden, config.probe.dims, session.run, made)
    memory = memory_limit() if most_bytes is None else most_bytes
    has_room = room_for_lone(opened.snapshot.bytes, resident_bytes(), memory)
    tuned = tune(session, summary, rows, note, config, cores, has_room, lone_cores)
    _check_labels(session, rows)
    policy = _policy(config, tuned)
    if text is not None:
        policy = text_policy(policy, config.text, text, rows)
    instances, lone = _instances(tuned, config, policy, text)
    trim_heap()  # memory left over from the probe does not belong to the model
    return Loaded(
        with_texts(tuned.signature, text),
        instances,
        policy,
        tuned.plan,
        tuned.probe,
        summary.precision,
        tuned.session.kernels,
        session.kernels_note,
        opened.snapshot.sha256,
        opened.snapshot.bytes,
        max(0, resident_bytes() - opened.memory_before),
        opened.seconds + perf_counter() - started,
        rows=_kept(rows),
        extent=tuned.extent,
        lone=lone,
        labels={
            **class_names(opened.files, session.signature),
            **session.labels,
            **(text.labels if text is not None else {}),
        },
        outputs_note=session.outputs_note,
        advice=_advice(opened, tuned.plan),
        speed_note=_speed_note(opened.files, opened.snapshot, tuned.session.kernels),
        text=text,
        text_note=opened.text_note,
        images=opened.images,
        images_note=opened.images_note,
        provider=session.options.provider,
    )


def _warm_up_language(
    opened: Opened,
    parts: "LanguageParts",
    config: ModelConfig,
    cores: int,
    most_bytes: int | None,
) -> Loaded:
    from service.engine.loading.language_trial import try_out

    started, session, batching = perf_counter(), opened.session, config.batching
    tried = try_out(parts, session, config, cores, most_bytes)
    trim_heap()
    policy = BatchPolicy(
        tried.plan.mode,
        1,
        tried.plan.preferred_rows,
        max_queue=batching.max_queue_size,
        timeout=batching.timeout,
    )
    return Loaded(
        parts.signature,
        (),
        policy,
        tried.plan,
        tried.probe,
        opened.summary.precision,
        session.kernels,
        session.kernels_note,
        opened.snapshot.sha256,
        opened.snapshot.bytes,
        max(0, resident_bytes() - opened.memory_before),
        opened.seconds + perf_counter() - started,
        language=tried.model,
    )


def _policy(config: ModelConfig, tuned: Tuned) -> BatchPolicy:
    batching, plan = config.batching, tuned.plan
    return BatchPolicy(
        plan.mode,
        batching.run_rows,
        plan.preferred_rows,
        batching.max_queue_delay,
        batching.max_queue_size,
        batching.timeout,
        tuned.padding,
        part_rows(plan, tuned.probe, batching),
        refusal(plan, batching),
        fixed=None if tuned.padding else tuned.signature.row_shapes,
        divided_rows=divided_rows(tuned.probe, batching, config.instances),
    )


def _instances(
    tuned: Tuned, config: ModelConfig, policy: BatchPolicy, text: "TextModel | None"
) -> tuple[tuple[Instance, ...], Instance | None]:
    """Return the concurrent instances, and the instance for lone requests."""

    def instance(session: Session) -> Instance:
        return Instance(session.run if text is None else text.run(session.run), policy)

    count, own = tuned.plan.instances, config.instances.kind == "sessions"
    sessions = [tuned.session.copy() if own and place else tuned.session for place in range(count)]
    lone = None if tuned.lone is None else instance(tuned.lone)
    return tuple(map(instance, sessions)), lone


def _advice(opened: Opened, plan: Plan) -> str:
    files = opened.files
    model = Path(os.path.relpath(files.model, files.root))
    return sharing_runs(plan, opened.summary, model, files.shared.name)


def _speed_note(files: VersionFiles, snapshot: Snapshot, kernels: Kernels) -> str:
    promise = read_promise(files.home, snapshot.sha256)
    if promise is None:
        return ""
    here = Profile.of(read_machine(), kernels)
    return note_on(promise, here, files.shared.name, files.golden.exists())


def _check_labels(session: Session, rows: Sequence[Arrays]) -> None:
    """Check that the file names as many classes as each output has.

    Raises:
        LoadFailed: the file names more or fewer classes for an output.
    """
    for place, spec in enumerate(session.signature.outputs if rows else ()):
        classes = len(session.labels.get(spec.name, ()))
        if not classes:
            continue
        (answer,) = session.run(rows[0], (place,))
        columns = answer.shape[-1] if answer.shape else 1
        if columns != classes:
            raise LoadFailed(
                f'output "{spec.name}" has {columns} columns, and the file\'s ZipMap names'
                f" {classes} classes for it: export the model again"
            )


def _kept(rows: Sequence[Arrays]) -> tuple[Arrays, ...]:
    """Return copies of the first rows, up to ``KEPT_BYTES`` in total."""
    total, kept = 0, []
    for row in rows:
        total += sum(array.nbytes for array in row)
        if total > KEPT_BYTES:
            break
        kept.append(tuple(np.array(array) for array in row))  # not views of a whole golden set
    return tuple(kept)
