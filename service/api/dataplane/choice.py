"""The version that answers an inference request."""

from service.api.transport.exchange import Exchange
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
    version = repository.version(model, _number(model, number) if number else None)
    exchange.version = version
    if version.language:
        raise not_tensors(model)
    return version


def _number(model: str, version: str) -> int:
    if not VERSION.fullmatch(version):
        raise NotFound(f'model "{model}" version "{version:.40}": not a version number')
    return int(version)
