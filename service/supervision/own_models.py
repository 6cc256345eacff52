"""Models with a dedicated worker.

A model gets one with ``own = true`` under ``[worker]`` in its model.toml. The file is read when the
supervisor starts. The other workers share the port and serve all other models.
"""

from pathlib import Path

from service.core.names import NAME

SETTINGS_FILE = "model.toml"
MOST_BYTES = 2**20
"""The maximum number of bytes of a model.toml that is searched."""


def own_models(models: Path) -> tuple[str, ...]:
    """Return the names of the models in this folder whose settings request a dedicated worker,
    sorted. A file that cannot be read requests nothing; the server reports it."""
    try:
        names = sorted(each.name for each in models.iterdir() if NAME.fullmatch(each.name))
    except OSError:
        return ()
    return tuple(name for name in names if _asks(models / name / SETTINGS_FILE))


def _asks(file: Path) -> bool:
    try:
        if not file.is_file():
            return False
        with file.open("rb") as opened:
            text = opened.read(MOST_BYTES)
    except OSError:
        return False
    if b"own" not in text:
        return False
    # Imported here, because every start of the command would wait for it.
    from service.core.errors import FileUnreadable
    from service.files import read_toml

    try:
        worker = (read_toml(file) or {}).get("worker")
    except FileUnreadable:
        return False
    return isinstance(worker, dict) and worker.get("own") is True
