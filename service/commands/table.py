"""The table that is printed once the models are loaded.

Each model has a line of facts, a line of its inputs and outputs, and a line for each note, since
columns for all of these would not fit a terminal. Lines are wrapped on a terminal only, so that
``grep`` finds whole lines elsewhere.
"""

from collections.abc import Iterator, Sequence
from textwrap import TextWrapper

from service.core.batching import BatchingMode
from service.core.layout import PassedOver
from service.core.tensors import TensorSpec
from service.engine.loading.loaded import Loaded
from service.engine.loading.plan import Plan
from service.engine.repository.model import Model
from service.engine.repository.repository import ModelRepository

NO_BREAK = "\N{NO-BREAK SPACE}"
NOT_READY = "not ready: nothing to serve (to wait for uploads: --allow-empty)"
ALIKE = 10
"""The maximum number of entries that are named for one reason; the log and the index contain
all."""
HEADS = ("MODEL", "VERSION", "STATE", "PRECISION", "SIZE", "KERNELS", "RUNS")


def table(repository: ModelRepository, url: str, width: int | None = None) -> str:
    """Return the table of a server at ``url``, with lines wrapped to ``width`` characters if
    given."""
    models = list(repository)
    facts = [HEADS, *map(_facts, models)]
    # Rows of unavailable models have fewer columns, and do not affect the widths.
    whole = [line for line in facts if len(line) == len(HEADS)]
    widths = [max(len(line[i]) for line in whole) for i in range(len(HEADS))]
    widths[0] = max(len(line[0]) for line in facts)
    rows = ["  ".join(map(str.ljust, line, widths)).rstrip() for line in facts]
    lines = _broken(rows[0], "", width)
    for model, row in zip(models, rows[1:], strict=True):
        lines += _broken(row, "", width)
        for mark, text in _details(model):
            lines += _broken(text, f"  {mark}", width)
    if not models:
        lines = [no_model(repository)]
    apart = list(unserved(repository.passed_over))
    lines += ["", "NOT SERVED"] if apart else []
    for text in apart:
        lines += _broken(text, "  ! ", width)
    if not repository.ready:
        lines += ["", *_broken(NOT_READY, "", width)]
    return "\n".join([*lines, "", serving_at(url), f"metrics at {url}/metrics"])


def serving_at(url: str) -> str:
    """Return the line with the server's address. Scripts wait for it."""
    return f"serving at {url}, docs at {url}/docs"


def no_model(repository: ModelRepository) -> str:
    """Return the text for a folder without models."""
    place = repository.folder / "<name>" / "<version>" / "model.onnx"
    return f"there is no model: expected {place}"


def _facts(model: Model) -> tuple[str, ...]:
    version = model.serving
    if version is None:
        return (model.name, "-", "UNAVAILABLE")
    facts = (model.name, str(version.number), version.state.value)
    loaded = version.loaded
    if loaded is None:
        return facts
    size, kernels = _size(loaded.file_bytes), loaded.computed_by
    return (*facts, str(loaded.precision), size, kernels, runs(loaded.plan))


def _details(model: Model) -> Iterator[tuple[str, str]]:
    """Yield lines about a model, as pairs of mark and text."""
    version = model.serving
    if version is not None and version.loaded is not None:
        yield "  ", tensors(version.loaded)
    for note in notes(model):
        yield "! ", note


def notes(model: Model) -> Iterator[str]:
    """Yield notes on a model for its operator."""
    version = model.serving
    if version is not None and version.loaded is not None:
        yield from version.loaded.notes
    reason = version.reason if version else model.reason
    if reason:
        yield reason
    if version is not None:
        for row in model.unfit():
            yield f"version {row.number}: {row.reason}"


def unserved(found: Sequence[PassedOver]) -> Iterator[str]:
    """Yield texts about entries of the folder that are not served, grouped by reason."""
    reasons: dict[str, list[str]] = {}
    for each in found:
        reasons.setdefault(each.reason, []).append(each.path)
    for reason, paths in reasons.items():
        more = f" and {len(paths) - ALIKE} more" if len(paths) > ALIKE else ""
        yield f"{', '.join(paths[:ALIKE])}{more}: {reason}"


def _broken(text: str, start: str, width: int | None) -> list[str]:
    lines = [start + text]
    if width is not None:
        # Names in commands may contain hyphens, and must stay in one piece to be copied.
        lines = TextWrapper(
            width, initial_indent=start, subsequent_indent="    ", break_on_hyphens=False
        ).wrap(text)
    return [line.replace(NO_BREAK, " ") for line in lines]


def tensors(loaded: Loaded) -> str:
    """Return the inputs and outputs of a version, each with non-breaking spaces."""
    signature = loaded.signature
    return f"{_named(signature.inputs)} -> {_named(signature.outputs)}"


def _named(specs: tuple[TensorSpec, ...]) -> str:
    named = (f"{spec.name} {spec}".replace(" ", NO_BREAK) for spec in specs)
    return ", ".join(named) or "nothing"


def _size(count: int) -> str:
    for unit, size in (("MB", 1_000_000), ("kB", 1_000)):
        if count >= size:
            number = count / size
            return f"{number:.1f} {unit}" if number < 10 else f"{number:.0f} {unit}"
    return f"{count} B"


def runs(plan: Plan) -> str:
    """Return how a model is run, such as "combine, up to 8 rows, 2 at once". The first word is the
    batching mode, as in the metadata."""
    rows = "1 row" if plan.preferred_rows == 1 else f"{plan.preferred_rows} rows"
    how = f"up to {rows}" if plan.mode is BatchingMode.COMBINE else "one a run"
    many = f", {plan.instances} at once" if plan.instances > 1 else ""
    threads = f", {plan.threads} threads" if plan.threads > 1 else ""
    if plan.lone_threads:
        threads += f", {plan.lone_threads} threads when alone"
    return f"{plan.mode.value}, {how}{many}{threads}"
