"""``quantserve tune``: measures how a model runs best on this machine, and saves the settings."""

import argparse
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from service.commands.extra import show
from service.commands.tune_report import as_text, as_values, sections, session_settings, write_plot
from service.config.model import ModelConfig, load_model_config
from service.core.batching import BatchingMode
from service.core.errors import ConfigError, LoadFailed, QuantserveError
from service.core.lone import LoneCores
from service.core.model_file import SETTINGS_FILE
from service.core.tuning import Candidate, Choice, Target, candidates, choose, confirm
from service.engine.cpu.kernels import Kernels
from service.engine.cpu.providers import Provider, beside_cpu
from service.engine.host.resources import usable_cores
from service.engine.loading.all_cores import lone_session
from service.engine.loading.loaded import Loaded, Opened
from service.engine.loading.loader import open_version
from service.engine.loading.trials import Trial, batch, batch_sizes, compare, measure
from service.engine.loading.tuning_file import tuning_path, write_tuning
from service.engine.loading.warm_up import warm_up
from service.engine.runtime.session import Session
from service.engine.storage.folder import VersionFiles, is_language_model
from service.engine.storage.root import Root

FINAL = 0.25
"""Share of the time for measuring only the chosen candidate and the default."""
INLINE = (
    "The default runs in the event loop, so it needs no handover to a thread. These figures do not"
    " include the handover: compare both with quantserve bench."
)


def describe(parser: argparse.ArgumentParser) -> None:
    """Add the model, the target and the time."""
    parser.add_argument("name", metavar="NAME", help="a model in the folder")
    parser.add_argument("--models", type=Path, default=Path("models"), metavar="DIR")
    parser.add_argument("--target", choices=list(map(str, Target)), default=str(Target.THROUGHPUT))
    parser.add_argument("--p99", type=_positive, metavar="MS", help="maximum p99 of a run in ms")
    parser.add_argument(
        "--seconds", type=_positive, default=20.0, metavar="N", help="total time for measuring"
    )
    parser.add_argument(
        "--cores", type=_cores, metavar="N", help="cores of one worker (default: all usable)"
    )
    parser.add_argument("--plot", type=Path, metavar="FILE", help="write rows/s as an SVG")
    parser.add_argument("--dry-run", action="store_true", help="do not save the settings")
    parser.add_argument("--json", action="store_true", help="print JSON")


def run(flags: dict[str, Any]) -> int:
    """Measure, print the curve and the settings, and save them. Returns the exit code.

    Raises:
        ConfigError: there is no such model, or it cannot be measured.
    """
    files = _found(flags["name"], flags["models"])
    config = load_model_config(files.shared / SETTINGS_FILE)
    cores = flags["cores"] or usable_cores()
    try:
        opened = open_version(files, config)
        loaded = warm_up(opened, config, cores)
        trials = _trials(files, config, opened, loaded, cores)
    except QuantserveError as error:
        raise ConfigError(f"{flags['name']}: {error}") from error
    target, p99 = Target(flags["target"]), flags["p99"] and flags["p99"] / 1000
    tolerance = config.batching.tolerance

    def judged(given: list[Trial], share_of_time: float) -> Choice:
        share = measure(given, share_of_time * flags["seconds"])
        default, *others = [trial.measured() for trial in given]
        return choose(default, others, target, p99, tolerance, share)

    choice = judged(trials, 1 - FINAL)
    measured = [trial.measured() for trial in trials]
    if choice.chosen is not choice.default:
        again = {choice.chosen.candidate, choice.default.candidate.lone}
        final = [trials[0], *(trial for trial in trials[1:] if trial.candidate in again)]
        choice = confirm(choice, judged([trial.anew() for trial in final], FINAL), target, p99)
    choice = replace(choice, lone_threads=_lone_threads(config, choice, trials, loaded, cores))
    text = as_text(choice, measured, tolerance)
    if loaded.plan.inline:
        text += f"\n\n{INLINE}"
    values = as_values(flags["name"], cores, choice, measured)
    if flags["plot"]:
        write_plot(flags["plot"], flags["name"], choice, measured)
    saved = ""
    if not (flags["dry_run"] or loaded.plan.inline):
        saved = _saved(tuning_path(files, cores), choice, target, values)
        text += f"\n\n{saved}"
    show(values | {"saved": saved}, text, flags["json"])
    return 0


def _saved(path: Path, choice: Choice, target: Target, values: dict[str, Any]) -> str:
    """Save the settings. Returns the path, or the reason why they could not be saved, as text."""
    chosen = f"{choice.chosen.candidate}, for {target}"
    if choice.unsure:
        chosen += f", unsure: {choice.unsure}"
    made = datetime.now(UTC).date().isoformat()
    try:
        write_tuning(path, sections(choice), values | {"chosen": chosen, "made": made})
    except OSError as error:
        return f"not saved: {path.parent}: {error.strerror}; put the lines into {SETTINGS_FILE}"
    return f"saved: {path}; quantserve serve uses it for settings that {SETTINGS_FILE} does not set"


def _found(name: str, models: Path) -> VersionFiles:
    model = Root.of(models).read_one(name) if models.is_dir() else None
    if model is None or model.to_serve is None:
        raise ConfigError(f"there is no model {name} in {models} with a version to serve")
    files = model.of_version(model.to_serve)
    if files.problem:
        raise ConfigError(f"{name} version {model.to_serve}: {files.problem}")
    if is_language_model(files.home):
        raise ConfigError(f"{name} is a language model: see [generation] of model.toml instead")
    return files


def _trials(
    files: VersionFiles, config: ModelConfig, opened: Opened, loaded: Loaded, cores: int
) -> list[Trial]:
    """Return trials of the default, which is first, and of the other candidates.

    Raises:
        LoadFailed: there are no rows to measure with.
    """
    if not loaded.rows:
        raise LoadFailed(f"there are no rows to measure with: add {files.golden.name}")
    plan, combines = loaded.plan, loaded.plan.mode is BatchingMode.COMBINE
    own = loaded.computed_by
    default = Candidate(plan.threads, plan.instances, plan.preferred_rows if combines else 1, own)
    sizes = batch_sizes(combines, config.batching.run_rows)
    tried = candidates(cores, sizes, _kernels(config, loaded))
    sessions: dict[tuple[int, str], Session | None]
    sessions = {(opened.session.options.threads, own): opened.session}
    trials: list[Trial] = []
    for each in (default, *(other for other in tried if other != default)):
        key = (each.threads, each.kernels)
        if key not in sessions:
            sessions[key] = _session(files, config, *key)
        if session := sessions[key]:
            trials.append(Trial(each, session, batch(loaded.rows, each.rows)))
    expected = trials[0].session
    for trial in trials:
        trial.deviation = compare(loaded.signature.outputs, expected, trial)
    return trials


def _kernels(config: ModelConfig, loaded: Loaded) -> list[str]:
    """Return the model's kernels first. Then the other kernels if the model is INT8, and the
    installed execution providers, unless model.toml sets them."""
    own, asked = loaded.computed_by, config.session
    others: list[str] = []
    if asked.provider != "cpu":
        return [own]
    if not Kernels.asked(asked.kernels) and "INT8" in str(loaded.precision):
        others += [each.value for each in Kernels]
    if "provider" not in asked.model_fields_set:
        others += [each.value for each in beside_cpu()]
    return [own, *(each for each in others if each != own)]


def _session(
    files: VersionFiles, config: ModelConfig, threads: int, kernels: str
) -> Session | None:
    """Open the model with this many threads; None if an execution provider rejects it."""
    instances = config.instances.model_copy(update={"threads": threads})
    session = config.session.model_copy(update=session_settings(kernels))
    asked = config.model_copy(update={"instances": instances, "session": session})
    try:
        return open_version(files, asked).session
    except LoadFailed:
        if kernels not in list(Provider):
            raise
        return None


def _lone_threads(
    config: ModelConfig, choice: Choice, trials: list[Trial], loaded: Loaded, cores: int
) -> int:
    """Return the number of threads for a lone request if the chosen candidate is used."""
    threads = choice.chosen.candidate.threads
    if config.instances.lone_threads is not None or threads >= cores or loaded.plan.inline:
        return config.instances.lone_threads or threads
    session = next(t.session for t in trials if t.candidate == choice.chosen.candidate)
    lone, _ = lone_session(session, loaded.rows, LoneCores(cores), measured=True)
    return threads if lone is None else cores


def _positive(text: str) -> float:
    value = float(text)
    if not 0 < value <= 3600:
        raise argparse.ArgumentTypeError("expected a number above 0, and at most 3600")
    return value


def _cores(text: str) -> int:
    value = int(text)
    if not 1 <= value <= 256:
        raise argparse.ArgumentTypeError("expected a whole number from 1 to 256")
    return value
