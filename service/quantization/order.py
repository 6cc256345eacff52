"""One ``quantserve quantize`` from its flags to the new version: check, search, publish."""

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import onnxruntime

from service.config import load_model_config
from service.core.compatibility import compare_signatures
from service.core.errors import ConfigError, LoadFailed
from service.core.model_file import ONNX_FOLDER, SETTINGS_FILE
from service.core.names import MODEL_FILE, NAME, VERSION
from service.engine.graph import summarise
from service.engine.kernels import Kernels
from service.engine.rehearsal import rehearse_file
from service.engine.session import Session, SessionOptions
from service.quantization.build import Workshop
from service.quantization.data import Split, save_rows, split
from service.quantization.decide import Goal, Target
from service.quantization.labelled import doubt
from service.quantization.labels import flat
from service.quantization.machine import Machine, read_machine
from service.quantization.page import page
from service.quantization.progress import ProgressBar
from service.quantization.publish import GOLDEN, check_home, make_folder, publish, write_golden
from service.quantization.quality import check_metric
from service.quantization.reading import read_data
from service.quantization.report import report
from service.quantization.search import Outcome, Search, Task
from service.quantization.source import Source, files_of, read_source
from service.quantization.timing import SECONDS
from service.quantization.told import told
from service.quantization.trial import load_answers


@dataclass(frozen=True, slots=True)
class Order:
    """What was asked; see ``quantserve quantize --help``."""

    model: Path
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

    @property
    def goal(self) -> Goal:
        """What is to become better, and at what price."""
        return Goal(Target(self.target), self.max_drop, self.allow_batch_variance)

    @property
    def model_name(self) -> str:
        """The name in the models folder: as asked, else after the file."""
        if self.name is not None:
            return self.name
        stem = self.model.stem
        if stem == "model":  # models/<name>/<version>/model.onnx, and what else may stand for it
            folders = [folder.name for folder in self.model.resolve().parents]
            parts = {ONNX_FOLDER, MODEL_FILE}
            stem = next((f for f in folders if f not in parts and not VERSION.fullmatch(f)), "")
        return stem


def carry_out(order: Order) -> str:
    """Search and publish; returns what to tell.

    Raises:
        ConfigError: what was asked cannot be done; found before any long work where possible.
    """
    if not NAME.fullmatch(order.model_name):
        raise ConfigError(f"{order.model_name!r} is not a name for a model; give one with --name")
    home = order.models / order.model_name
    if not order.model.is_file():
        words = "is a folder; give the .onnx file" if order.model.is_dir() else "does not exist"
        raise ConfigError(f"{order.model} {words}")
    made = [folder for folder in (home, order.models) if not folder.exists()]
    try:
        return _carry_out(order, home)
    except OSError as error:
        raise ConfigError(f"{error.filename or home}: {error.strerror or error}") from None
    finally:
        for folder in made:  # unless there is something in it
            with suppress(OSError):
                folder.rmdir()


def _carry_out(order: Order, home: Path) -> str:
    make_folder(home.parent)
    machine = read_machine()
    if order.threads > machine.cores:
        raise ConfigError(f"--threads {order.threads}: this machine has {machine.cores} cores")
    source = read_source(order.model.absolute(), home.parent)
    rows = read_data(order.data, order.model, source.signature, order.labels, order.seed)
    calibration = None
    if order.calibration:
        calibration = read_data(
            order.calibration, order.model, source.signature, order.labels, order.seed,
            needs_labels=False,
        )  # fmt: skip
    if rows.by_run:
        source = replace(source, batched=False)
    check_metric(order.metric, rows.labels)
    parts = split(rows, order.seed, order.rows, calibration)
    for path in order.qat:
        _check_given(path, source)
    check_home(home, source.signature)
    kernels = Kernels.asked(load_model_config(home / SETTINGS_FILE).session.kernels)
    with _scratch(home) as scratch:
        try:
            shop = _workshop(scratch, order, parts, kernels)
            outcome, search = _search(order, source, shop, parts, machine, kernels)
        except ConfigError:  # FP32 itself does not run: there is nothing to go on with
            shutil.rmtree(scratch)
            raise
        given = (*rows.notes, *(calibration.notes if calibration else ()))
        outcome = replace(outcome, notes=(*given, *outcome.notes))
        text = _publish(order, home, source, parts, outcome, search, shop, machine)
        shutil.rmtree(scratch)
    return text


def _search(
    order: Order, source: Source, shop: Workshop, parts: Split, machine: Machine,
    kernels: Kernels | None,
) -> tuple[Outcome, Search]:  # fmt: skip
    task = Task(
        source, order.goal, order.metric, machine.cores, order.threads, machine.saturates,
        order.budget, order.max_batch_size, tuple(path.absolute() for path in order.qat),
        order.timing_seconds, len(parts.confirmation), kernels,
    )  # fmt: skip
    search = Search(task, shop, ProgressBar())
    outcome = search.run()
    if order.data == "random":
        decision = outcome.decision
        warning = "ACCURACY WAS NOT MEASURED: the rows are random. "
        outcome = replace(outcome, decision=replace(decision, reason=warning + decision.reason))
    quality = outcome.reference.measured.quality if outcome.reference.measured else None
    if quality and (why := doubt(quality.metric, quality.reference, parts.evaluation.labels)):
        outcome = replace(outcome, notes=(*outcome.notes, why))
    return outcome, search


def _publish(
    order: Order, home: Path, source: Source, parts: Split, outcome: Outcome, search: Search,
    shop: Workshop, machine: Machine,
) -> str:  # fmt: skip
    winner = next(
        (c.recipe for c in outcome.candidates if c.recipe.name == outcome.decision.winner), None
    )
    file = search.file(winner) if winner else source.path
    data = {
        "source": order.data if order.data == "random" else Path(order.data).name,
        "random": order.data == "random",
        "labels": parts.evaluation.labels is not None,
        "by_run": parts.evaluation.by_run,
        "calibration_rows": len(parts.calibration),
        "evaluation_rows": len(parts.evaluation),
        "confirmation_rows": len(parts.confirmation),
        "seed": order.seed,
    }
    hashes = {"model": _sha256(file), "source": _sha256(source.path)}
    values = report(outcome, order.goal, machine, data, hashes)
    values = {"name": home.name, **values}
    golden = write_golden(home, source.signature, parts.evaluation, load_answers(shop.answers))
    version = home / str(publish(home, file, values, page(values)))
    written = [*sorted(p for p in version.rglob("*") if p.is_file()), *[home / GOLDEN][:golden]]
    width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    return told(values, version, written, width)


def _check_given(path: Path, source: Source) -> None:
    """A finished file must load and have the model's signature.

    Raises:
        ConfigError: it does not, or is not quantized.
    """
    if not path.is_file():
        raise ConfigError(f"there is no file {path}")
    try:
        precision = summarise(path).precision
        rehearse_file(path)
        signature = Session(path, SessionOptions(1)).signature
    except LoadFailed as error:
        raise ConfigError(f"--qat {path.name}: {error}") from None
    if not precision.scheme:
        raise ConfigError(f"--qat {path.name} is not quantized ({precision})")
    broken = compare_signatures(source.signature, signature).broken
    # It is run and compared in the order of the source's tensors.
    want, got = ([s.name for s in (*x.inputs, *x.outputs)] for x in (source.signature, signature))
    if broken or want != got:
        what = ", ".join(broken) or f"expected {want}, got {got}"
        raise ConfigError(f"--qat {path.name} has another signature: {what}")


@contextmanager
def _scratch(home: Path) -> Iterator[Path]:
    """The search's folder, for one process at a time."""
    folder = home / ".quantize"
    descriptor = os.open(home, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        folder.mkdir(exist_ok=True)
        yield folder
    except BlockingIOError:
        raise ConfigError(f"another quantize is at work on {home}") from None
    finally:
        os.close(descriptor)


def _workshop(scratch: Path, order: Order, parts: Split, kernels: Kernels | None) -> Workshop:
    """A folder of this search's own; what another one with other wishes left is removed."""
    folder = scratch.absolute() / _key(order, parts, kernels)
    for other in scratch.iterdir():
        if other.name != folder.name:
            shutil.rmtree(other) if other.is_dir() else other.unlink()
    folder.mkdir(exist_ok=True)
    shop = Workshop(folder)
    try:
        save_rows(parts.calibration, shop.calibration)
        save_rows(parts.evaluation, shop.evaluation)
        save_rows(parts.confirmation, shop.confirmation)
    except OSError as error:
        raise ConfigError(f"{folder} cannot be written: {error.strerror}") from None
    return shop


def _key(order: Order, parts: Split, kernels: Kernels | None = None) -> str:
    """The same for searches that would find the same."""
    digest = hashlib.sha256()
    for path in (order.model, *order.qat):
        for file in files_of(path):
            digest.update(_sha256(file).encode())
    for rows in (parts.calibration, parts.evaluation, parts.confirmation):
        for row in rows.feeds:
            for array in row:
                digest.update(array.tobytes() if array.dtype != object else repr(array).encode())
        digest.update(b"" if rows.labels is None else flat(rows.labels).tobytes())
    asked: dict[str, Any] = asdict(order)
    wishes = ("metric", "max_drop", "target", "allow_batch_variance", "max_batch_size", "threads")
    digest.update(json.dumps([asked[name] for name in wishes]).encode())
    machine = read_machine()
    here = (onnxruntime.__version__, machine.cores, machine.features, machine.saturates, kernels)
    digest.update(repr(here).encode())
    return digest.hexdigest()[:16]


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
