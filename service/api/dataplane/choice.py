"""The version that answers an inference request."""

from service.api.transport.exchange import Exchange
from service.api.transport.target import Target
from service.core.errors import NotFound
from service.core.generation import not_tensors
from service.core.names import VERSION
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion


def choose(repository: ModelRepository, exchange: Exchange) -> ModelVersion:
    """Return the serving version of the request's model, or the version that the request names.
    Set it as the version of the exchange.

    Raises:
        NotFound, NotReady: the model or version does not exist, or is not ready.
        SignatureMismatch: the model is a language model, which takes no tensors.
    """
    _, model, number = exchange.target
    version = repository.version(model, _number(exchange.target) if number else None)
    exchange.version = version
    if version.language:
        raise not_tensors(model)
    return version


def _number(target: Target) -> int | None:
    if target.version is None:
        return None
    if not VERSION.fullmatch(target.version):
        shown = f"{target.version:.40}"
        raise NotFound(f'model "{target.model}" version "{shown}": not a version number')
    return int(target.version)
