"""One ``quantserve quantize`` of a language model: build, measure, decide, publish."""

import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from time import monotonic

import numpy as np

from service.config.model import GateConfig, load_model_config
from service.core.checks import failures
from service.core.errors import ConfigError, Conflict, LoadFailed
from service.core.language_gate import MAX_PERPLEXITY_RATIO, Forced, language_checks
from service.core.model_file import SETTINGS_FILE
from service.core.names import NAME, VERSION
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.machine import Machine, read_machine
from service.engine.generation.genai_config import read_config
from service.engine.storage.language_golden import LanguageGolden, read_language_golden
from service.engine.storage.root import Root
from service.quantization.evaluate.quality import Quality
from service.quantization.evaluate.timing import Timing
from service.quantization.evaluate.trial import Measurement
from service.quantization.evaluate.worker import Worker, WorkFailed
from service.quantization.language.convert import convert
from service.quantization.language.recipes import MODEL, beside, build, recipes
from service.quantization.language.source import Form, check_packages, form_of
from service.quantization.language.texts import DEFAULT, Texts, cut, read_text
from service.quantization.language.trial import LanguageTrial, reference, tokens_of, trial
from service.quantization.publish import GOLDEN, make_folder, publish
from service.quantization.recipes.build import examine
from service.quantization.recipes.catalogue import Imported, Recipe
from service.quantization.report.json_report import as_json
from service.quantization.report.page import page
from service.quantization.report.progress import ProgressBar
from service.quantization.report.report import DataFacts, Hashes, report
from service.quantization.report.told import told
from service.quantization.search.decide import Candidate, Goal, Target, best, gain
from service.quantization.search.reasons import decide
from service.quantization.search.task import Outcome, Step
from service.quantization.search.workplace import scratch_folder, sha256

METRIC = "perplexity ratio, FP32 to candidate"
SECONDS = 1800.0
"""The time limit of one trial."""
BUILD_SECONDS = 4 * 3600.0
"""The time limit of building one graph. k_quant takes about 20 s for 100 million weights."""
FP32 = Recipe("FP32", Imported(""))


@dataclass(frozen=True, slots=True)
class LanguageOptions:
    """The arguments of ``quantserve quantize``; see its ``--help``. ``model`` has one of the forms
    in ``source``; ``streams`` is the expected number of requests that decode together."""

    model: Path
    name: str | None = None
    models: Path = Path("models")
    target: str = "latency"
    streams: int = 8
    text: Path | None = None
    threads: int = 1

    @property
    def model_name(self) -> str:
        """The name in the models folder: ``name`` if given, otherwise derived from the path."""
        if self.model.is_file():  # may be a link to a file with a meaningless name
            return self.name or self.model.stem
        names = [each.name for each in (self.model.resolve(), *self.model.resolve().parents)]
        return self.name or next((name for name in names if not VERSION.fullmatch(name)), "")


def carry_out(options: LanguageOptions) -> str:
    """Try all recipes and publish the best. Returns the text to print.

    Raises:
        ConfigError: the options or the model are invalid, or the result cannot be written.
    """
    if not NAME.fullmatch(options.model_name):
        raise ConfigError(f"{options.model_name!r} is not a valid model name; give one with --name")
    home, machine = options.models / options.model_name, read_machine()
    if options.threads > machine.cores:
        raise ConfigError(f"--threads {options.threads}: this machine has {machine.cores} cores")
    form = form_of(options.model)
    if form is None:
        raise ConfigError(
            f"{options.model} is not a language model: neither a GGUF file, nor a folder with"
            " genai_config.json, or with config.json that has a model_type; for other models, give"
            " the .onnx file"
        )
    check_packages(options.model, form)
    made = [folder for folder in (home, options.models) if not folder.exists()]
    try:
        make_folder(home.parent)
        Root.of(options.models).check_new_version(home.name)
        make_folder(home)
        gate = load_model_config(home / SETTINGS_FILE).gate
        with scratch_folder(home) as scratch:
            try:
                return _Run(options, form, home, scratch, machine, gate).run()
            finally:
                shutil.rmtree(scratch, ignore_errors=True)
    except Conflict as error:
        raise ConfigError(f"{error} with --name") from None
    except OSError as error:
        raise ConfigError(f"{error.filename or home}: {error.strerror or error}") from None
    except (WorkFailed, LoadFailed) as error:
        raise ConfigError(f"{options.model}: {error}") from None
    finally:
        for folder in made:  # rmdir fails on folders that are not empty
            with suppress(OSError):
                folder.rmdir()


class _Run:
    """One ``quantserve quantize`` of a language model, in a scratch folder."""

    def __init__(
        self, options: LanguageOptions, form: Form, home: Path, scratch: Path, machine: Machine,
        gate: GateConfig,
    ) -> None:  # fmt: skip
        self._options, self._form, self._home, self._scratch = options, form, home, scratch
        self._machine, self._gate = machine, gate
        ratio = gate.max_perplexity_ratio or MAX_PERPLEXITY_RATIO
        self._goal = Goal(Target(options.target), 1 - 1 / ratio, unit="tokens")
        self._bar, self._started = ProgressBar(), monotonic()
        self._notes: list[str] = []

    def run(self) -> str:
        """Measure, decide, publish."""
        options, tried = self._options, recipes(self._machine.saturates)
        source = self._fp32(len(tried) + 1)
        self._step("reading the model", 0, len(tried) + 1, None)
        golden, texts = self._texts(source)
        with Worker() as worker:
            fp32 = worker.call(SECONDS, examine, source / MODEL)
        measured = self._measure(FP32, source, source, golden)
        first = Candidate(FP32, fp32, measured)
        found: list[Candidate] = []
        for place, recipe in enumerate(tried, 1):
            top = best(found, first, self._goal)
            self._step(recipe.name, place, len(tried) + 1, top, first)
            found.append(self._candidate(recipe, source, golden, texts))
        self._step("done", len(tried) + 1, len(tried) + 1, best(found, first, self._goal), first)
        outcome = Outcome(
            first, tuple(found), decide(found, first, self._goal, len(tried)), None,
            options.threads, tuple(self._notes), monotonic() - self._started,
        )  # fmt: skip
        return self._publish(outcome, source, golden, texts)

    def _fp32(self, planned: int) -> Path:
        """Return the folder of the FP32 graph, which is built unless it was given."""
        given = self._options.model.absolute()
        if self._form is Form.BUILT:
            return given
        self._step("building FP32", 0, planned, None)
        built = self._folder(FP32)
        with Worker() as worker:
            self._notes.append(worker.call(BUILD_SECONDS, convert, given, self._form, built))
        return built

    def _texts(self, source: Path) -> tuple[LanguageGolden, Texts]:
        """Return the existing golden set, otherwise one of new texts; and texts for calibration."""
        given = read_text(self._options.text)
        with Worker() as worker:
            tokens, context = worker.call(SECONDS, tokens_of, source, given)
            texts = cut(tokens, context)
            if (self._home / GOLDEN).exists():
                vocabulary = read_config(source).vocab_size
                golden = read_language_golden(self._home / GOLDEN, vocabulary, context)
                self._notes.append(f"judged by the existing {GOLDEN}")
                return golden, texts
            forced = worker.call(SECONDS, reference, source, texts.evaluation)
        return LanguageGolden(texts.evaluation, forced), texts

    def _candidate(
        self, recipe: Recipe, source: Path, golden: LanguageGolden, texts: Texts
    ) -> Candidate:
        folder = self._folder(recipe)
        try:
            with Worker() as worker:
                calibration = texts.calibration.tolist()
                recipe = worker.call(BUILD_SECONDS, build, recipe, source, folder, calibration)
                built = worker.call(SECONDS, examine, folder / MODEL)
            measured = self._measure(recipe, folder, source, golden)
        except WorkFailed as error:
            return Candidate(recipe, failure=str(error))
        if recipe.float_nodes:
            kept = ", ".join(recipe.float_nodes)
            self._notes.append(f"{recipe.name}: in float because of outliers: {kept}")
        if recipe.wide_nodes:
            self._notes.append(f"{recipe.name}: {len(recipe.wide_nodes)} products have 8 bits")
        return Candidate(recipe, built, measured)

    def _folder(self, recipe: Recipe) -> Path:
        words = "".join(each if each.isalnum() else "-" for each in recipe.name.lower())
        return self._scratch / words / "1"

    def _measure(
        self, recipe: Recipe, folder: Path, source: Path, golden: LanguageGolden
    ) -> Measurement:
        streams, threads = self._options.streams, self._options.threads
        with Worker() as worker:
            found = worker.call(SECONDS, trial, folder, source, golden.tokens, streams, threads)
        quality = _quality(found.forced, golden.forced, self._gate)
        self._notes.append(_figures(recipe, found, quality, streams))
        return _measurement(found, quality, streams)

    def _publish(self, outcome: Outcome, source: Path, golden: LanguageGolden, texts: Texts) -> str:
        folder = self._folder(outcome.winner) if outcome.winner else source
        data = DataFacts(
            source=self._options.text.name if self._options.text else DEFAULT,
            random=False, labels=False, by_run=False,
            calibration_rows=len(texts.calibration), evaluation_rows=len(golden.tokens),
            confirmation_rows=0, seed=0,
        )  # fmt: skip
        hashes = Hashes(sha256(folder / MODEL), sha256(source / MODEL))
        found = report(self._home.name, outcome, self._goal, self._machine, data, hashes)
        written = self._write_golden(golden)
        number = publish(self._home, folder / MODEL, as_json(found), page(found), beside(folder))
        version = self._home / str(number)
        files = [*sorted(each for each in version.rglob("*") if each.is_file()), *written]
        width = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
        return told(found, version, files, width)

    def _write_golden(self, golden: LanguageGolden) -> Sequence[Path]:
        path = self._home / GOLDEN
        if path.exists():
            return ()
        temporary = self._scratch / GOLDEN
        forced = golden.forced
        np.savez_compressed(
            temporary, tokens=golden.tokens.astype(np.int32), logprobs=forced.logprobs,
            top1=forced.top1,
        )  # fmt: skip
        temporary.replace(path)
        return (path,)

    def _step(
        self, doing: str, done: int, planned: int, top: Candidate | None,
        first: Candidate | None = None,
    ) -> None:  # fmt: skip
        name, better = "FP32", 0.0
        if top is not None and first is not None:
            name, better = top.recipe.name, gain(top, first, self._goal)
        spent = monotonic() - self._started
        left = spent / done * (planned - done) if done else 0.0
        self._bar(Step(doing, done, planned, name, better, left))


def _quality(got: Forced, wanted: Forced, gate: GateConfig) -> Quality:
    """Compare the perplexities, as the gate of a server does."""
    checks = language_checks(got, wanted, gate.max_perplexity_ratio, gate.min_top1_agreement)
    ratio = float(checks[0].measured)
    why = failures([check for check in checks[1:] if not check.passed])
    return Quality(METRIC, 1 / ratio if ratio else 0.0, 1.0, (), why)


def _measurement(found: LanguageTrial, quality: Quality, streams: int) -> Measurement:
    speeds = found.speeds
    timing = Timing(
        speeds.token, speeds.reference_token, speeds.token_ratio, streams, streams / speeds.step,
        streams / speeds.reference_step, speeds.step_ratio,
    )  # fmt: skip
    return Measurement(
        found.load_seconds, found.steady_bytes, found.steady_bytes, quality, timing,
        found.deviation, kernels=Kernels(found.kernels), first_token_seconds=speeds.prompt,
    )  # fmt: skip


def _figures(recipe: Recipe, found: LanguageTrial, quality: Quality, streams: int) -> str:
    speeds = found.speeds
    perplexity = float(np.exp(-found.forced.logprobs.mean(dtype=np.float64)))
    return (
        f"{recipe.name}: perplexity {perplexity:.2f}, {1 / max(quality.score, 1e-9):.3f} x FP32's;"
        f" {1 / speeds.token:.0f} tokens/s for one stream, {streams / speeds.step:.0f} for"
        f" {streams}; first token after {speeds.prompt * 1000:.0f} ms, for a prompt of"
        f" {speeds.prompt_tokens} tokens;"
        f" {found.steady_bytes / 1e6:.0f} MB"
    )
