"""Metadata: the extensions of the server, and the inputs and outputs of a model."""

from collections.abc import Sequence

from fastapi import APIRouter
from pydantic import BaseModel

from service import __version__
from service.api.control.lookup import NOT_FOUND, NOT_READY, ModelName, VersionNumber, find_version
from service.core.lifecycle import State
from service.core.tensors import Signature, TensorSpec
from service.engine.loading.loaded import Loaded
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion
from service.triton.configuration import CUT, LARGER, PLATFORM, REFUSED

MOST_LISTED = 32
"""The maximum number of optional inputs to list. Old exports declare every weight as an optional
input."""
EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "logging",
    "model_configuration",
    "model_repository",
    "schedule_policy",
    "statistics",
]


class Welcome(BaseModel):
    """The models, and the paths of the documentation and the metrics."""

    name: str
    version: str
    ready: bool
    models: list[str]
    docs: str = "/docs"
    openapi: str = "/openapi.json"
    metrics: str = "/metrics"


class ServerMetadata(BaseModel):
    """Name, version, and the protocol extensions that the server supports."""

    name: str
    version: str
    extensions: list[str]


class TensorMetadata(BaseModel):
    """An input or output. -1 in the shape stands for any length; the batch axis is included. If the
    ONNX file has no shape for a tensor, its shape is [-1], and ``any_shape`` in the model's
    ``parameters`` names it. Such a tensor may have any number of axes.
    """

    name: str
    datatype: str
    shape: list[int]


class ModelMetadata(BaseModel):
    """The ready versions of a model, its inputs and outputs. ``parameters`` has values that were
    measured or read from its file. ``serving_version`` is the version that answers requests without
    a version. ``optional_inputs`` are the inputs with a default in the graph.
    """

    name: str
    versions: list[str]
    platform: str
    inputs: list[TensorMetadata]
    outputs: list[TensorMetadata]
    parameters: dict[str, str]


def metadata(repository: ModelRepository) -> APIRouter:
    """Return the routes for the metadata of the server and its models."""
    router = APIRouter(tags=["metadata"])
    errors = NOT_FOUND | NOT_READY

    @router.get("/", summary="List the models and the main paths")
    async def welcome() -> Welcome:
        models = [f"/v2/models/{model.name}" for model in repository]
        return Welcome(
            name="quantserve", version=__version__, ready=repository.ready, models=models
        )

    @router.get("/v2/", include_in_schema=False)
    @router.get("/v2", summary="Get the metadata of the server")
    async def server() -> ServerMetadata:
        return ServerMetadata(name="quantserve", version=__version__, extensions=EXTENSIONS)

    @router.get("/v2/models/{name}", summary="Get the metadata of a model", responses=errors)
    async def model(name: ModelName) -> ModelMetadata:
        return describe(repository, find_version(repository, name, None))

    @router.get(
        "/v2/models/{name}/versions/{version}",
        summary="Get the metadata of a version",
        responses=errors,
    )
    async def model_version(name: ModelName, version: VersionNumber) -> ModelMetadata:
        return describe(repository, find_version(repository, name, version))

    return router


def cuts(loaded: Loaded) -> bool:
    """Return True if requests with more rows than one run accepts are split."""
    return bool(loaded.signature.batchable and loaded.policy.part_rows)


def describe(repository: ModelRepository, version: ModelVersion) -> ModelMetadata:
    """Return the metadata of a version.

    Raises:
        NotFound: its model no longer exists.
        NotReady: the version is not ready.
    """
    loaded, _ = version.serving()
    model = repository.model(version.model)
    versions, serving = model.versions, model.serving
    return ModelMetadata(
        name=version.model,
        versions=[str(n) for n in sorted(versions) if versions[n].state is State.READY],
        platform=PLATFORM,
        inputs=[_tensor(spec) for spec in loaded.signature.inputs],
        outputs=[_tensor(spec) for spec in loaded.signature.outputs],
        parameters={
            "serving_version": str(serving.number) if serving else "",
            "precision": str(loaded.precision),
            "kernels": loaded.kernels.value,
            "kernels_note": loaded.kernels_note,
            "execution_provider": loaded.provider.value,
            "outputs_note": loaded.outputs_note,
            "sha256": loaded.sha256,
            "batching": loaded.plan.mode.value,
            "batching_note": loaded.plan.note,
            "batching_advice": loaded.advice,
            "speed_note": loaded.speed_note,
            "preferred_batch_size": str(loaded.plan.preferred_rows),
            "batch_deviation": str(loaded.probe.deviation),
            **_of_rows(loaded),
            **(loaded.language.figures if loaded.language else {}),
            **(loaded.images.figures if loaded.images else {}),
            **({"images_note": loaded.images_note} if loaded.images_note else {}),
            **(loaded.text.figures if loaded.text else {}),
            **({"text_note": loaded.text_note} if loaded.text_note else {}),
            **_not_in_the_shapes(loaded.signature),
        },
    )


def _of_rows(loaded: Loaded) -> dict[str, str]:
    """Return the most rows of one run, and whether larger requests are split or refused. Return
    nothing if the model has no batch axis."""
    if not loaded.signature.batchable:
        return {}
    told = CUT if cuts(loaded) else REFUSED
    return {"max_batch_size": str(loaded.policy.max_rows), LARGER: told}


def _not_in_the_shapes(signature: Signature) -> dict[str, str]:
    """Return the facts about inputs and outputs for which the protocol has no field, if any."""
    tensors = (*signature.inputs, *signature.outputs)
    unranked = [f'"{spec.name}"' for spec in tensors if not spec.ranked]
    optional = [f'"{spec.name}" {spec}' for spec in signature.optional]
    listed = {"any_shape": unranked, "optional_inputs": optional}
    return {name: _listed(texts) for name, texts in listed.items() if texts}


def _listed(texts: Sequence[str]) -> str:
    more = len(texts) - MOST_LISTED
    return ", ".join(texts if more <= 0 else [*texts[:MOST_LISTED], f"and {more} more"])


def _tensor(spec: TensorSpec) -> TensorMetadata:
    return TensorMetadata(name=spec.name, datatype=spec.datatype.name, shape=spec.wire_shape)
