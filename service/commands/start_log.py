"""The table of ``table.py`` as JSON lines, if the log is in JSON.

A collector of both streams of a container expects a record in each line, and may drop a table of
text. Each model has its own line, since collectors truncate long lines.
"""

import logging
from collections.abc import Iterator, Mapping
from typing import Any

from service.commands.table import (
    NO_BREAK,
    NOT_READY,
    no_model,
    notes,
    serving_at,
    tensors,
    unserved,
)
from service.core.lifecycle import State
from service.engine.loading.loaded import Loaded
from service.engine.repository.model import Model
from service.engine.repository.repository import ModelRepository
from service.logs import json_line


def start_log(repository: ModelRepository, url: str, admin: Mapping[str, Any]) -> Iterator[str]:
    """Yield JSON lines about each model, about files that are not served, and finally about the
    server's address. ``admin`` contains more fields for the last line, such as the required admin
    key file."""
    models = list(repository)
    for model in models:
        yield _model(model)
    if not models:
        yield json_line(no_model(repository), {}, logging.WARNING)
    for text in unserved(repository.passed_over):
        yield json_line(f"not served: {text}", {}, logging.WARNING)
    if not repository.ready:
        yield json_line(NOT_READY, {}, logging.WARNING)
    addresses = {"url": url, "docs": f"{url}/docs", "metrics": f"{url}/metrics"}
    ready = {"ready": repository.ready, "models": len(models)}
    yield json_line(serving_at(url), addresses | ready | dict(admin))


def _model(model: Model) -> str:
    version = model.serving
    fields: dict[str, Any] = {"model": model.name}
    if version is None:
        fields |= {"state": State.UNAVAILABLE.value, "notes": list(notes(model))}
        return json_line(f"model {model.name} is UNAVAILABLE", fields, logging.WARNING)
    fields |= {"version": version.number, "state": version.state.value}
    fields |= _facts(version.loaded) if version.loaded else {}
    text = f"model {model.name} version {version.number} is {version.state.value}"
    return json_line(text, fields | {"notes": list(notes(model))})


def _facts(loaded: Loaded) -> dict[str, Any]:
    """Return the columns of the table, with the names that they have in the metadata."""
    plan = loaded.plan
    return {
        "precision": str(loaded.precision),
        "file_bytes": loaded.file_bytes,
        "kernels": loaded.kernels.value,
        "execution_provider": loaded.provider.value,
        "batching": plan.mode.value,
        "preferred_batch_size": plan.preferred_rows,
        "instances": plan.instances,
        "threads": plan.threads,
        "lone_threads": plan.lone_threads or plan.threads,
        "tensors": tensors(loaded).replace(NO_BREAK, " "),
    }
