"""The table that is printed once the models are loaded: what is served, for people."""

from service.engine.model import Model
from service.engine.repository import ModelRepository


def table(repository: ModelRepository, url: str) -> str:
    """What is served, for people."""
    heads = ["MODEL", "VERSION", "STATE", "PRECISION", "SIZE", "BATCHING", "INPUTS", "OUTPUTS"]
    lines = [heads, *(_row(model) for model in repository)]
    widths = [max(len(line[i]) for line in lines) for i in range(len(heads))]
    rows = ("  ".join(c.ljust(w) for c, w in zip(r, widths, strict=True)).rstrip() for r in lines)
    return "\n".join([*rows, *_notes(repository), "", f"serving at {url}, docs at {url}/docs"])


def _row(model: Model) -> list[str]:
    version = model.serving
    if version is None:
        return [model.name, "-", "UNAVAILABLE", "", "", "", "", ""]
    cells = [model.name, str(version.number), version.state.value]
    loaded = version.loaded
    if loaded is None:
        return [*cells, "", "", "", "", ""]
    width = f" of {loaded.plan.preferred_rows}" if loaded.plan.preferred_rows > 1 else ""
    return [
        *cells,
        str(loaded.precision),
        f"{loaded.file_bytes / 1000:.0f} kB",
        f"{loaded.plan.mode.value}{width}",
        ", ".join(f"{s.name} {s}" for s in loaded.signature.inputs),
        ", ".join(f"{s.name} {s}" for s in loaded.signature.outputs),
    ]


def _notes(repository: ModelRepository) -> list[str]:
    notes = []
    for model in repository:
        version = model.serving
        reason = version.reason if version else model.reason
        note = version.loaded.plan.note if version and version.loaded else ""
        if reason or note:
            notes.append(f"  {model.name}: {reason or note}")
    return notes
