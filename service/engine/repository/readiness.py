"""The reason why a server is not ready, for health checks."""

from service.core.lifecycle import State
from service.engine.repository.repository import ModelRepository

NAMED = 3
"""The number of entries to name. The repository index lists all."""
EXPECTED = "<name>/1/model.onnx or <name>/model.onnx"


def why_not_ready(repository: ModelRepository) -> str:
    """Return what a server that is not ready waits for, or why it has nothing to serve."""
    versions = [version for model in repository for version in model.versions.values()]
    loading = [f"{v.model} version {v.number}" for v in versions if v.state is State.LOADING]
    if loading:
        return f"loading {', '.join(loading)}"
    if not repository.started or repository.stopping:
        return "the server is starting or stopping"
    reasons = [f"{model.name}: {model.reason}" for model in repository]
    reasons += [f"{each.path}: {each.reason}" for each in repository.passed_over]
    if not reasons:
        return f"nothing to serve: the models folder holds no model, expected {EXPECTED} in it"
    more = len(reasons) - NAMED
    rest = f"; and {more} more, see POST /v2/repository/index" if more > 0 else ""
    return f"nothing to serve: {'; '.join(reasons[:NAMED])}{rest}"
