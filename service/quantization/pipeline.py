"""One ``quantserve quantize`` from its flags to the new version: check, search, publish."""

import shutil
import sys
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from service.config.model import load_model_config
from service.core.compatibility import compare_signatures
from service.core.errors import ConfigError, LoadFailed
from service.core.model_file import ONNX_FOLDER, SETTINGS_FILE
from service.core.names import MODEL_FILE, NAME, VERSION
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.machine import Machine, read_machine
from service.engine.loading.rehearsal import rehearse_file
from service.engine.onnx_file.summary import summarise
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.data.labelled import doubt
from service.quantization.data.reading import read_data
from service.quantization.data.rows import Split, split
from service.quantization.evaluate.quality import check_metric
from service.quantization.evaluate.timing import SECONDS
from service.quantization.evaluate.trial import load_answers
from service.quantization.evaluate.worker import WorkFailed
from service.quantization.publish import GOLDEN, check_home, make_folder, publish, write_golden
from service.quantization.recipes.build import WorkDir
from service.quantization.recipes.catalogue import Imported
from service.quantization.recipes.converting import restored
from service.quantization.recipes.source import Source, read_source
from service.quantization.report.json_report import as_json
from service.quantization.report.page import page
from service.quantization.report.progress import ProgressBar
from service.quantization.report.report import DataFacts, Hashes, report
from service.quantization.report.told import kept, told
from service.quantization.search.decide import Goal, Target
from service.quantization.search.search import Search
from service.quantization.search.task import Outcome, Task
from service.quantization.search.workplace import new_work_dir, scratch_folder, sha256


@dataclass(frozen=True, slots=True)
class QuantizeOptions:
    """The options of a command; see ``quantserve quantize --help``."""

    model: Path | None
    data: str
    calibration: str | None = None
    name: str | None = None
    models: Path = Path("models")
    labels: str | None = None
    metric: str = "auto"
    max_drop: float = 0.01
    target: str = "latency"
    budget: float = 900.0
    allow_batch_variance: bool = False
    qat: tuple[Path, ...] = ()
    rows: int = 1000
    max_batch_size: int = 64
    threads: int = 0
    seed: int = 0
    timing_seconds: float = SECONDS
    from_int8: Path | None = None

    @property
    def goal(self) -> Goal:
        """The goal of the search."""
        return Goal(Target(self.target), self.max_drop, self.allow_batch_variance)

    def wishes(self, kernels: Kernels | None) -> dict[str, Any]:
        """Return the options that affect results. A search resumes only if they are equal."""
        names = (
            "metric", "max_drop", "target", "allow_batch_variance", "max_batch_size", "threads",
            "from_int8",
        )  # fmt: skip
        return {name: getattr(self, name) for name in names} | {"kernels": kernels}

    @property
    def converts(self) -> bool:
        """True if an 8-bit model is converted without its FP32 source."""
        return self.model is None

    @property
    def given(self) -> tuple[Path, ...]:
        """The given quantized files, which are candidates too."""
        return (*self.qat, *([self.from_int8] if self.from_int8 else []))

    @property
    def model_name(self) -> str:
        """The model's name: ``name`` if given, otherwise derived from the file's path."""
        if self.name is not None:
            return self.name
        given = self.from_int8 if self.model is None else self.model
        stem = given.stem if given else ""
        if given and stem == "model":  # such as models/<name>/<version>/model.onnx
            folders = [folder.name for folder in given.resolve().parents]
            parts = {ONNX_FOLDER, MODEL_FILE}
            stem = next((f for f in folders if f not in parts and not VERSION.fullmatch(f)), "")
        return stem


def carry_out(options: QuantizeOptions) -> str:
    """Run a search and publish its result. Returns the text to print.

    Options are checked before any long work where possible.

    Raises:
        ConfigError: the options or the data are invalid, or the result cannot be written.
    """
    if not NAME.fullmatch(options.model_name):
        raise ConfigError(f"{options.model_name!r} is not a valid model name; give one with --name")
    home = options.models / options.model_name
    if options.model is not None and not options.model.is_file():
        words = "is a folder; give the .onnx file" if options.model.is_dir() else "does not exist"
        raise ConfigError(f"{options.model} {words}")
    made = [folder for folder in (home, options.models) if not folder.exists()]
    try:
        make_folder(home.parent)
        if options.model is not None:
            return _carry_out(options, options.model, home, ())
        if options.from_int8 is None:
            raise ConfigError("give an FP32 model, or a quantized model with --from-int8")
        with restored(options.from_int8, home.parent) as floats:
            return _carry_out(options, floats.path, home, (floats.note,))
    except OSError as error:
        raise ConfigError(f"{error.filename or home}: {error.strerror or error}") from None
    finally:
        for folder in made:  # rmdir fails on folders that are not empty
            with suppress(OSError):
                folder.rmdir()


def _carry_out(options: QuantizeOptions, model: Path, home: Path, notes: tuple[str, ...]) -> str:
    machine = read_machine()
    if options.threads > machine.cores:
        raise ConfigError(f"--threads {options.threads}: this machine has {machine.cores} cores")
    source = read_source(model.absolute(), home.parent)
    rows = read_data(options.data, model, source.signature, options.labels, options.seed)
    calibration = None
    if options.calibration:
        calibration = read_data(
            options.calibration, model, source.signature, options.labels, options.seed,
            needs_labels=False,
        )  # fmt: skip
    if rows.by_run:
        source = replace(source, batched=False)
    check_metric(options.metric, rows.labels)
    parts = split(rows, options.seed, options.rows, calibration)
    for path in options.given:
        _check_given("--qat" if path in options.qat else "--from-int8", path, source)
    check_home(home, source.signature)
    kernels = Kernels.asked(load_model_config(home / SETTINGS_FILE).session.kernels)
    with scratch_folder(home) as scratch:
        try:
            work_dir = new_work_dir(scratch, model, options.given, options.wishes(kernels), parts)
            outcome, search = _search(options, source, work_dir, parts, machine, kernels)
            outcome = _beside_given(options, outcome, search)
        except ConfigError:  # FP32 itself does not run: nothing to resume
            shutil.rmtree(scratch)
            raise
        given = (*notes, *rows.notes, *(calibration.notes if calibration else ()))
        outcome = replace(outcome, notes=(*given, *outcome.notes))
        text = _publish(options, home, source, parts, outcome, search, work_dir, machine)
        shutil.rmtree(scratch)
    return text


def _search(
    options: QuantizeOptions, source: Source, work_dir: WorkDir, parts: Split, machine: Machine,
    kernels: Kernels | None,
) -> tuple[Outcome, Search]:  # fmt: skip
    task = Task(
        source, options.goal, options.metric, machine.cores, options.threads, machine.saturates,
        options.budget, options.max_batch_size, tuple(path.absolute() for path in options.given),
        options.timing_seconds, len(parts.confirmation), kernels, options.from_int8 is not None,
    )  # fmt: skip
    search = Search(task, work_dir, ProgressBar())
    outcome = search.run()
    if options.data == "random":
        decision = outcome.decision
        warning = "ACCURACY WAS NOT MEASURED: the rows are random. "
        outcome = replace(outcome, decision=replace(decision, reason=warning + decision.reason))
    quality = outcome.reference.measured.quality if outcome.reference.measured else None
    if quality and (why := doubt(quality.metric, quality.reference, parts.evaluation.labels)):
        outcome = replace(outcome, notes=(*outcome.notes, why))
    return outcome, search


def _beside_given(options: QuantizeOptions, outcome: Outcome, search: Search) -> Outcome:
    """Add a note to the outcome that compares the winner's answers with the --from-int8 file's."""
    winner = outcome.winner
    if winner is None or options.from_int8 is None or isinstance(winner.method, Imported):
        return outcome
    try:
        quality = search.beside(winner, options.from_int8.absolute())
    except WorkFailed as error:
        note = f"could not be compared with {options.from_int8.name}: {error}"
    else:
        note = (
            f"answers of {winner.name} against those of {options.from_int8.name}: {quality.metric} "
            f"{quality.score:.4f}, {quality.reference:.4f} for that file"
        )
    return replace(outcome, notes=(*outcome.notes, note))


def _publish(
    options: QuantizeOptions, home: Path, source: Source, parts: Split, outcome: Outcome,
    search: Search, work_dir: WorkDir, machine: Machine,
) -> str:  # fmt: skip
    winner = outcome.winner
    file = search.file(winner) if winner else source.path
    made_up = options.data == "random"
    data = DataFacts(
        source=options.data if made_up else Path(options.data).name,
        random=made_up,
        labels=parts.evaluation.labels is not None,
        by_run=parts.evaluation.by_run,
        calibration_rows=len(parts.calibration),
        evaluation_rows=len(parts.evaluation),
        confirmation_rows=len(parts.confirmation),
        seed=options.seed,
    )
    hashes = Hashes(sha256(file), sha256(source.path))
    found = report(home.name, outcome, options.goal, machine, data, hashes)
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    if options.converts and (winner is None or isinstance(winner.method, Imported)):
        return kept(found, options.given[-1], width)
    golden = write_golden(home, source.signature, parts.evaluation, load_answers(work_dir.answers))
    version = home / str(publish(home, file, as_json(found), page(found)))
    written = [*sorted(p for p in version.rglob("*") if p.is_file()), *[home / GOLDEN][:golden]]
    return told(found, version, written, width)


def _check_given(flag: str, path: Path, source: Source) -> None:
    """Check that a given quantized file loads and has the source's signature.

    Raises:
        ConfigError: it does not load, has another signature, or is not quantized.
    """
    if not path.is_file():
        raise ConfigError(f"{flag} {path}: there is no such file")
    try:
        precision = summarise(path).precision
        rehearse_file(path)
        signature = Session(path, SessionOptions(1)).signature
    except LoadFailed as error:
        raise ConfigError(f"{flag} {path.name}: {error}") from None
    if not precision.scheme:
        raise ConfigError(f"{flag} {path.name} is not quantized ({precision})")
    broken = compare_signatures(source.signature, signature).broken
    # Names must be in the same order too: tensors are passed and compared by position.
    want, got = ([s.name for s in (*x.inputs, *x.outputs)] for x in (source.signature, signature))
    if broken or want != got:
        what = ", ".join(broken) or f"expected {want}, got {got}"
        raise ConfigError(f"{flag} {path.name} has a different signature: {what}")
