"""The search loop: builds, measures and judges every recipe, then tries mixed precision.

The result of each step is stored in a journal, from which an interrupted search resumes.
"""

import zlib
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from time import monotonic

from service.core.errors import ConfigError
from service.quantization.evaluate import trial as trials
from service.quantization.evaluate.kernel_speeds import measure_kernels
from service.quantization.evaluate.quality import Quality
from service.quantization.evaluate.trial import Bench, Measurement
from service.quantization.evaluate.worker import Worker, WorkFailed
from service.quantization.recipes.build import Built, WorkDir, build, examine, prepare
from service.quantization.recipes.catalogue import Imported, Recipe, catalogue, per_row, pruned
from service.quantization.recipes.source import doubt_of_precision
from service.quantization.search.confirmation import Finals
from service.quantization.search.decide import Candidate, Target, best, cutoff, gain, mixed_bases
from service.quantization.search.formats import Speeds, hopeless, ordered
from service.quantization.search.journal import Journal
from service.quantization.search.mixed_precision import MixedPrecision
from service.quantization.search.reasons import decide
from service.quantization.search.task import Outcome, Step, Task

BUILD_TIMEOUT, TRIAL_TIMEOUT = 300.0, 300.0
LEAST_PATIENCE = 30.0
PATIENCE = 0.1
"""The time limit for building one recipe, as a share of the budget, but at least LEAST_PATIENCE
seconds."""
FP32 = Recipe("FP32", Imported("the model itself"))
SPARSITIES = (0.3, 0.5)
MOST_MIXED = 2
"""The maximum number of recipes that are tried with mixed precision."""


class Search:
    """One search over the candidates of a model."""

    def __init__(self, task: Task, work_dir: WorkDir, watch: Callable[[Step], None]) -> None:
        self._task = task
        self._work_dir = work_dir
        self._watch = watch
        self._builder = Worker(work_dir.folder)
        self._journal = Journal(work_dir.folder / "journal.jsonl")
        self._started = monotonic()
        # All mutable state: the results, and the numbers of steps done and planned.
        self._found: list[Candidate] = []
        self._notes: list[str] = []
        self._done, self._planned = 0, 0
        self._reference = Candidate(FP32)
        self._bench = Bench(
            task.source.path, work_dir.evaluation, work_dir.answers, task.metric, 1,
            task.source.batched, task.max_rows, seconds=task.timing_seconds,
            kernels=task.kernels,
        )  # fmt: skip

    def run(self) -> Outcome:
        """Try all recipes, until the time budget ends.

        Raises:
            ConfigError: FP32 does not run on the data, or the metric fails on its answers.
        """
        plan = self._plan()
        self._planned = len(plan) + 1
        with self._builder:
            self._measure_reference()
            speeds = self._speeds()
            for recipe in ordered(plan, speeds):
                if not self._in_time():
                    self._notes.append("the time budget ended before every recipe was tried")
                    break
                if why := hopeless(recipe, speeds, self._task.source.kinds, self._task.goal.target):
                    self._found.append(Candidate(recipe, failure=why))
                    self._done += 1
                    continue
                self._found.append(self._try(recipe))
                self._keep_best()
            for candidate in self._mixed_precision():
                self._found.append(candidate)
                self._keep_best()
            for recipe in self._prunings():
                self._found.append(self._try(recipe))
                self._keep_best()
        confirmation = self._finish()
        self._step("done")
        notes = {c.built.note: None for c in self._found if c.built and c.built.note}
        self._notes += notes
        decision = decide(self._found, self._reference, self._task.goal, len(plan))
        return Outcome(
            self._reference, tuple(self._found), decision, confirmation, self._bench.threads,
            tuple(self._notes), monotonic() - self._started,
        )  # fmt: skip

    def file(self, recipe: Recipe) -> Path:
        """Return the file of a candidate, which is built again if it was removed."""
        path = _file(self._work_dir, recipe)
        if not path.exists():
            with Worker(self._work_dir.folder) as worker:
                worker.call(BUILD_TIMEOUT, build, recipe, self._work_dir, path)
        return path

    def beside(self, recipe: Recipe, other: Path) -> Quality:
        """Return the quality of a candidate with another file as the reference.

        Raises:
            WorkFailed: one of the two files cannot be run.
        """
        bench = replace(self._bench, reference=other)
        with Worker() as worker:
            return worker.call(
                TRIAL_TIMEOUT, trials.confirm, self.file(recipe), bench, self._work_dir.evaluation
            )

    def _plan(self) -> tuple[Recipe, ...]:
        imported = tuple(
            Recipe(f"given file {path.name}", Imported(str(path))) for path in self._task.imported
        )
        if self._task.rows_only:
            return (*imported, *per_row(self._task.saturates))
        return (*imported, *catalogue(self._task.source.kinds, self._task.saturates))

    def _speeds(self) -> Speeds:
        """Return the measured speeds of the formats; empty if measuring fails."""
        if self._task.kernels is not None:  # ``measure_kernels`` ignores kernels of model.toml
            return {}

        def measured() -> dict[str, float]:
            try:
                with Worker() as worker:
                    return dict(worker.call(TRIAL_TIMEOUT, measure_kernels)["speed"])
            except WorkFailed:
                return {}

        return self._journal.remember("speeds", dict[str, float], measured)

    def _measure_reference(self) -> None:
        self._step("FP32")
        source, work_dir = self._task.source, self._work_dir
        try:
            note = self._builder.call(BUILD_TIMEOUT, prepare, source.path, work_dir)
            if note:
                self._notes.append(f"pre-processing failed; recipes start without it: {note}")
            threads = self._task.threads or self._journal.remember("threads", int, self._threads)
            self._bench = replace(self._bench, threads=threads)
            built = self._builder.call(BUILD_TIMEOUT, examine, source.path)
            if about := doubt_of_precision(built.precision):
                self._notes.append(about)
            with Worker() as worker:
                measured = worker.call(self._patience, trials.baseline, self._bench)
        except WorkFailed as error:
            raise ConfigError(f"{source.path.name} in FP32, on the data: {error}") from None
        self._reference = Candidate(FP32, replace(built, file_bytes=source.file_bytes), measured)
        assert measured.quality is not None
        assert measured.timing is not None
        self._bench = replace(
            self._bench, metric=measured.quality.metric, reference_rows=measured.timing.rows
        )
        self._done += 1

    @property
    def _patience(self) -> float:
        """The timeout for measuring FP32 itself, in seconds."""
        return min(TRIAL_TIMEOUT, max(LEAST_PATIENCE, self._task.budget_seconds))

    def _threads(self) -> int:
        with Worker() as worker:
            return worker.call(
                self._patience, trials.serving_threads,
                self._task.source.path, self._work_dir.evaluation, self._task.cores,
                self._task.timing_seconds,
            )  # fmt: skip

    def _try(self, recipe: Recipe) -> Candidate:
        self._step(recipe.name)
        found = self._journal.remember(repr(recipe), Candidate, lambda: self._measure(recipe))
        self._done += 1
        return found

    def _measure(self, recipe: Recipe) -> Candidate:
        path = _file(self._work_dir, recipe)
        built: Built | None = None
        try:
            patience = max(LEAST_PATIENCE, PATIENCE * self._task.budget_seconds)
            built = self._builder.call(patience, build, recipe, self._work_dir, path)
            slowest = 0.9 * cutoff(self._found, self._reference, self._task.goal)
            with Worker() as worker:
                measured: Measurement = worker.call(
                    TRIAL_TIMEOUT, trials.trial, path, self._bench, slowest
                )
        except WorkFailed as error:
            return Candidate(recipe, built, failure=str(error))
        return Candidate(recipe, built, measured)

    def _keep_best(self) -> None:
        """Remove all candidate files except that of the best candidate."""
        found = best(self._found, self._reference, self._task.goal)
        kept = _file(self._work_dir, found.recipe) if found else None
        for path in self._work_dir.folder.glob("candidate-*.onnx"):
            if path != kept:
                path.unlink()

    def _mixed_precision(self) -> Iterator[Candidate]:
        """Yield candidates of mixed precision, from the most promising recipes. The iterator is
        lazy: each result decides whether the next recipe is worth trying."""
        mixing = MixedPrecision(
            self._builder, self._journal, self._work_dir, self._bench, self._task.goal.max_drop,
            self._more, self._next,
        )  # fmt: skip
        tried: set[str] = set()
        while len(tried) < MOST_MIXED:
            bases = mixed_bases(self._found, self._reference, self._task.goal)
            recipe = next((c.recipe for c in bases if c.recipe.name not in tried), None)
            if recipe is None:
                return
            until = monotonic() + self._left() / (MOST_MIXED - len(tried))
            tried.add(recipe.name)
            try:
                found = mixing.find(recipe, until)
            except WorkFailed as error:
                self._notes.append(f"mixed precision failed for {recipe.name}: {error}")
                continue
            if found is None:
                self._notes.append(f"no set of nodes in float was found for {recipe.name}")
                continue
            yield self._try(found)

    def _more(self, steps: int) -> None:
        self._planned += steps

    def _next(self, doing: str) -> None:
        self._step(doing)
        self._done += 1

    def _finish(self) -> Quality | None:
        finals = Finals(
            self._journal, self._work_dir, self._bench, self._task.goal, self._reference, self.file,
            self._step,
        )  # fmt: skip
        try:
            self._found = finals.play_off(self._found)
        except WorkFailed as error:
            self._notes.append(f"the best candidates could not be timed again: {error}")
        self._found, confirmation = finals.confirm(self._found, self._task.confirming)
        return confirmation

    def _prunings(self) -> Iterator[Recipe]:
        """Yield pruned variants of the best recipe, for the target size."""
        # Sparse weights reduce the compressed size only.
        found = best(self._found, self._reference, self._task.goal)
        if self._task.goal.target is Target.SIZE and found and found.recipe.calibrated:
            for sparsity in SPARSITIES:
                if self._in_time():
                    yield pruned(found.recipe, sparsity)

    def _left(self) -> float:
        return max(0.0, self._started + self._task.budget_seconds - monotonic())

    def _in_time(self) -> bool:
        return self._left() > 0

    def _step(self, doing: str) -> None:
        found = best(self._found, self._reference, self._task.goal) if self._found else None
        words, better = "FP32", 0.0
        if found is not None:
            words, better = found.recipe.name, gain(found, self._reference, self._task.goal)
        spent = monotonic() - self._started
        left = spent / max(1, self._done) * max(0, self._planned - self._done)
        left = min(left, self._left())
        self._watch(Step(doing, self._done, self._planned, words, better, left))


def _file(work_dir: WorkDir, recipe: Recipe) -> Path:
    return work_dir.folder / f"candidate-{zlib.crc32(repr(recipe).encode()):08x}.onnx"
