"""Times and scores one file against FP32, with the options of serving. Runs in a fresh worker.

The candidate is loaded first and alone, to measure its load time and memory. Then its answers, its
behaviour in batches, and its speed, in alternation with FP32, are measured. A candidate that cannot
win is dropped early, with the reason.
"""

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter, thread_time

import numpy as np

from service.core.errors import ConfigError, QuantserveError
from service.core.tensors import Array, Arrays
from service.engine.cpu.kernels import Kernels
from service.engine.host.resources import resident_bytes
from service.engine.loading.plan import LONG_SECONDS, uses_cores
from service.engine.loading.probe import SAME, probe
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.data.rows import Rows, groups, load_rows
from service.quantization.evaluate.quality import Quality, choose_metric, compare
from service.quantization.evaluate.timing import SECONDS, Entrant, Timing, race

PROBED = 8
"""The number of rows that are run one by one and as batches."""
QUICK_ROWS = 32
"""The number of rows of the first check, which detects broken candidates."""
VARIES = 1e-3
"""The deviation above which answers depend on the other rows of a batch; as in serving."""


@dataclass(frozen=True, slots=True)
class Bench:
    """Settings that all trials of a search share.

    ``reference_rows`` is FP32's best batch size, ``seconds`` the duration of a comparison of speed.
    If ``kernels`` is None, they are chosen for each file as in serving.
    """

    reference: Path
    evaluation: Path
    answers: Path
    metric: str
    threads: int
    batched: bool
    max_rows: int
    reference_rows: int = 1
    seconds: float = SECONDS
    kernels: Kernels | None = None

    @property
    def options(self) -> SessionOptions:
        """The session options that serving would use."""
        return SessionOptions(self.threads, kernels=self.kernels)


@dataclass(frozen=True, slots=True)
class Measurement:
    """The result of a trial.

    ``deviation`` is how much a row's answers change with the other rows of a batch, as a share of
    the output's largest value; None if runs are not batched. ``dropped`` is the reason why the
    trial ended early, or "". ``kernels`` are the 8-bit kernels that were used.
    ``first_token_seconds`` is the time from a prompt to the first generated token, for a language
    model.
    """

    load_seconds: float
    steady_bytes: int
    peak_bytes: int
    quality: Quality | None
    timing: Timing | None
    deviation: float | None
    dropped: str = ""
    kernels: Kernels = Kernels.DEFAULT
    first_token_seconds: float | None = None

    @property
    def invariant(self) -> bool:
        """True if a row's answers are independent of the other rows of its batch."""
        return self.deviation is None or self.deviation <= VARIES


@dataclass(frozen=True, slots=True)
class _Loaded:
    """A session, its load time in seconds, and the memory of the process before loading, in
    bytes."""

    session: Session
    seconds: float
    before: int

    def memory(self) -> tuple[int, int]:
        """Return the growth of the process since ``before``, in bytes: current and peak."""
        peak = _peak_bytes() or resident_bytes()
        return max(0, resident_bytes() - self.before), max(0, peak - self.before)

    @property
    def outputs(self) -> list[str]:
        return [spec.name for spec in self.session.signature.outputs]


def baseline(bench: Bench) -> Measurement:
    """Measure FP32 itself, and save its answers for the trials that follow.

    Raises:
        ConfigError: FP32 does not run, or its answers cannot serve as a reference.
    """
    rows = load_rows(bench.evaluation)
    loaded = _load(bench.reference, bench)
    first = _reference_answers(loaded.session, rows, 0, QUICK_ROWS)
    steady, peak = loaded.memory()
    answers = [*first, *_reference_answers(loaded.session, rows, QUICK_ROWS, len(rows))]
    save_answers(answers, bench.answers)
    metric = choose_metric(bench.metric, rows.labels, loaded.outputs, answers)
    quality = compare(loaded.outputs, metric, answers, answers, rows.labels)
    _check_baseline(loaded.outputs, answers, quality, rows)
    width, deviation = _batches(loaded.session, rows, bench)
    timing = race(rows, [Entrant(loaded.session, (width,))], bench.seconds)[0]
    return Measurement(
        loaded.seconds, steady, peak, quality, timing, deviation, kernels=loaded.session.kernels
    )


def _check_baseline(
    names: Sequence[str], answers: Sequence[Arrays], quality: Quality, rows: Rows
) -> None:
    for i, name in enumerate(names):
        column = [row[i] for row in answers]
        if column[0].dtype.kind == "f" and all(np.isnan(values).all() for values in column):
            raise ConfigError(f'all values of output "{name}" are NaN')
    if quality.failure:
        raise ConfigError(quality.failure)
    if quality.metric in ("accuracy", "r2") and quality.reference <= 0:
        raise ConfigError(
            f"{quality.metric} {quality.reference:.4f} on {len(rows)} rows: the labels or the "
            "preprocessing of the rows do not match this model"
        )


def trial(candidate: Path, bench: Bench, slowest: float) -> Measurement:
    """Measure a candidate against FP32.

    ``slowest`` is the ratio to FP32's speed at batch 1 below which the candidate is dropped.
    """
    rows = load_rows(bench.evaluation)
    loaded = _load(candidate, bench)
    first = _answers(loaded.session, rows.feeds[:QUICK_ROWS])
    steady, peak = loaded.memory()
    want = load_answers(bench.answers)
    quality = _score(loaded, bench.metric, want, first, rows)
    reference = Session(bench.reference, bench.options)
    quick = race(rows, [Entrant(loaded.session), Entrant(reference)], 0.0)[0]
    dropped = _hopeless(quality, quick.latency_ratio, slowest)
    if dropped:
        # The quick timing is precise enough to report how slow a dropped candidate is.
        kernels = loaded.session.kernels
        return Measurement(loaded.seconds, steady, peak, quality, quick, 0.0, dropped, kernels)
    answers = [*first, *_answers(loaded.session, rows.feeds[QUICK_ROWS:])]
    quality = _score(loaded, bench.metric, want, answers, rows)
    width, deviation = _batches(loaded.session, rows, bench)
    sizes = (width, bench.reference_rows)
    entrants = [Entrant(loaded.session, sizes), Entrant(reference, (bench.reference_rows,))]
    timing = race(rows, entrants, bench.seconds)[0]
    return Measurement(
        loaded.seconds, steady, peak, quality, timing, deviation, kernels=loaded.session.kernels
    )


def judge(candidate: Path, bench: Bench) -> Quality:
    """Return the quality of a candidate on all evaluation rows, without timing."""
    rows = load_rows(bench.evaluation)
    loaded = _load(candidate, bench)
    answers = _answers(loaded.session, rows.feeds)
    return _score(loaded, bench.metric, load_answers(bench.answers), answers, rows)


def confirm(candidate: Path, bench: Bench, confirmation: Path) -> Quality:
    """Return the quality of a candidate on the test rows."""
    rows = load_rows(confirmation)
    loaded = _load(candidate, bench)
    want = _answers(Session(bench.reference, bench.options), rows.feeds)
    return _score(loaded, bench.metric, want, _answers(loaded.session, rows.feeds), rows)


def serving_threads(model: Path, evaluation: Path, cores: int, seconds: float) -> int:
    """Return the number of threads that serving will use for a run: all cores if they make a long
    row faster, otherwise 1."""
    entrants = [Entrant(Session(model, SessionOptions(count))) for count in (cores, 1)]
    wide = race(load_rows(evaluation), entrants, seconds)[0]
    long = wide.reference_p50_seconds >= LONG_SECONDS
    return cores if long and uses_cores(wide.latency_ratio, cores) else 1


def _hopeless(quality: Quality, ratio: float, slowest: float) -> str:
    if quality.failure:
        return quality.failure
    if ratio < slowest:
        return f"runs at {ratio:.2f} x FP32's speed; below {slowest:.2f} x it cannot win"
    return ""


def _score(
    loaded: _Loaded, metric: str, want: Sequence[Arrays], got: Sequence[Arrays], rows: Rows
) -> Quality:
    labels = None if rows.labels is None else rows.labels[: len(got)]
    return compare(loaded.outputs, metric, want[: len(got)], got, labels)


def playoff(candidates: Sequence[Path], sizes: Sequence[int], bench: Bench) -> list[Timing]:
    """Time the best candidates again, in alternation with FP32, to reduce the noise in their order.

    ``sizes`` are their best batch sizes.
    """
    rows = load_rows(bench.evaluation)
    paths = [*candidates, bench.reference]
    sessions = [Session(path, bench.options) for path in paths]
    widths = [(size, bench.reference_rows) for size in sizes] + [(bench.reference_rows,)]
    entrants = [Entrant(*each) for each in zip(sessions, widths, strict=True)]
    return race(rows, entrants, bench.seconds * len(entrants))[:-1]


def _load(path: Path, bench: Bench) -> _Loaded:
    _forget_peak()
    before, started = resident_bytes(), perf_counter()
    session = Session(path, bench.options)
    return _Loaded(session, perf_counter() - started, before)


def _answers(session: Session, feeds: Sequence[Arrays]) -> list[Arrays]:
    """Return the answers to each row."""
    # One row per run: the score must not depend on the other rows of a batch.
    return [session.run(row) for row in feeds]


def _reference_answers(session: Session, rows: Rows, start: int, end: int) -> list[Arrays]:
    """Return FP32's answers to rows ``start`` to ``end``.

    Raises:
        ConfigError: FP32 fails on a row; names its index in the data and its shapes.
    """
    answers = []
    for place, row in enumerate(rows.feeds[start:end], start):
        try:
            answers.append(session.run(row))
        except QuantserveError as error:
            shapes = ", ".join(
                f'"{spec.name}" {list(array.shape)}'
                for spec, array in zip(session.signature.inputs, row, strict=True)
            )
            what = "run" if rows.by_run else "row"
            raise ConfigError(f"{what} {rows.number(place)} ({shapes}): {error}") from error
    return answers


def _batches(session: Session, rows: Rows, bench: Bench) -> tuple[int, float | None]:
    """Return the batch size with the most rows/s, and how much answers change with the other
    rows."""
    if not bench.batched:
        return 1, None
    chosen = [rows.feeds[i] for i in next(groups(rows.feeds))[:PROBED]]
    clock = thread_time if bench.threads == 1 else perf_counter
    found = probe(session.run, session.signature.outputs, chosen, bench.max_rows, clock)
    width = max(found.seconds, key=lambda size: size / found.seconds[size])
    # Kernels round differently for other batch sizes; only larger deviations come from other rows.
    moved = found.deviation if found.deviation > SAME else found.neighbours
    return width, moved


def save_answers(answers: Sequence[Arrays], path: Path) -> None:
    """Write the outputs of each row, without pickle."""
    arrays = {
        f"{i}/{k}": a.astype(np.str_) if a.dtype == object else a
        for i, row in enumerate(answers)
        for k, a in enumerate(row)
    }
    np.savez(path, allow_pickle=False, **arrays)


def load_answers(path: Path) -> list[Arrays]:
    """Read the file that ``save_answers`` wrote."""
    rows: list[list[Array]] = []
    with np.load(path, allow_pickle=False) as archive:
        for name in archive.files:
            row = int(name.partition("/")[0])
            if row == len(rows):
                rows.append([])
            rows[row].append(archive[name])
    return [tuple(row) for row in rows]


def _forget_peak() -> None:
    """Reset the process's peak memory (Linux)."""
    with suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def _peak_bytes() -> int:
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    return 0
