"""Model configuration in the format of Triton's extension. Clients use it to size their batches.

Source: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from fastapi import APIRouter
from pydantic import BaseModel, Field

from service.api.control.lookup import NOT_FOUND, NOT_READY, ModelName, VersionNumber, find_version
from service.api.control.metadata import cuts
from service.core.batching import BatchingMode, BatchPolicy
from service.core.tensors import TensorSpec
from service.engine.repository.repository import ModelRepository
from service.engine.repository.version import ModelVersion
from service.triton.configuration import CUT, LARGER, PLATFORM


class ConfiguredTensor(BaseModel):
    """An input or output. ``dims`` do not include the batch axis if ``max_batch_size`` is above 0.
    They are [-1] if the ONNX file has no shape.
    """

    name: str
    data_type: str = Field(examples=["TYPE_FP32"])
    dims: list[int]


class InstanceGroup(BaseModel):
    """The number of instances that run in parallel."""

    name: str
    kind: str
    count: int


class QueuePolicy(BaseModel):
    """The maximum number of requests in the queue, and the most time that a request waits; 0: no
    limit."""

    max_queue_size: int
    default_timeout_microseconds: int


class DynamicBatching(BaseModel):
    """The settings by which rows of several requests share a run."""

    preferred_batch_size: list[int]
    max_queue_delay_microseconds: int
    default_queue_policy: QueuePolicy


class ResponseCaching(BaseModel):
    """``enable`` is true if outputs are cached for requests with the same inputs."""

    enable: bool


class ConfiguredParameter(BaseModel):
    """A setting of the backend."""

    string_value: str


class Configuration(BaseModel):
    """A model's configuration. ``dynamic_batching`` is present only if requests share runs.

    ``max_batch_size`` is the most rows of one run. The parameter ``larger_requests`` is "cut" if a
    request may have more rows, which then run in parts. Without it, such a request is refused.
    """

    name: str
    platform: str
    backend: str
    default_model_filename: str
    max_batch_size: int
    input: list[ConfiguredTensor]
    output: list[ConfiguredTensor]
    instance_group: list[InstanceGroup]
    dynamic_batching: DynamicBatching | None = None
    response_cache: ResponseCaching | None = None
    parameters: dict[str, ConfiguredParameter] | None = None


def model_config(repository: ModelRepository) -> APIRouter:
    """Return the routes for the configuration of a model."""
    router = APIRouter(tags=["metadata"])
    errors = NOT_FOUND | NOT_READY

    @router.get(
        "/v2/models/{name}/config",
        summary="Get the configuration of a model",
        response_model_exclude_none=True,
        responses=errors,
    )
    async def config(name: ModelName) -> Configuration:
        return _configuration(find_version(repository, name, None))

    @router.get(
        "/v2/models/{name}/versions/{version}/config",
        summary="Get the configuration of a version",
        response_model_exclude_none=True,
        responses=errors,
    )
    async def version_config(name: ModelName, version: VersionNumber) -> Configuration:
        return _configuration(find_version(repository, name, version))

    return router


def _configuration(version: ModelVersion) -> Configuration:
    loaded, batcher = version.serving()
    batched = loaded.signature.batchable
    combines = batched and loaded.plan.mode is BatchingMode.COMBINE
    return Configuration(
        name=version.model,
        platform=PLATFORM,
        backend="onnxruntime",
        default_model_filename=version.files.model.name,
        max_batch_size=loaded.policy.max_rows if batched else 0,
        input=[_tensor(spec, batched) for spec in loaded.signature.inputs],
        output=[_tensor(spec, batched) for spec in loaded.signature.outputs],
        instance_group=[
            InstanceGroup(name=version.model, kind="KIND_CPU", count=batcher.instances)
        ],
        dynamic_batching=_dynamic_batching(loaded.policy) if combines else None,
        response_cache=ResponseCaching(enable=True) if version.config.cache.max_bytes else None,
        parameters={LARGER: ConfiguredParameter(string_value=CUT)} if cuts(loaded) else None,
    )


def _tensor(spec: TensorSpec, batched: bool) -> ConfiguredTensor:
    name = {"BYTES": "STRING"}.get(spec.datatype.name, spec.datatype.name)
    dims = spec.wire_shape[1:] if batched and spec.ranked else spec.wire_shape
    return ConfiguredTensor(name=spec.name, data_type=f"TYPE_{name}", dims=dims)


def _dynamic_batching(policy: BatchPolicy) -> DynamicBatching:
    return DynamicBatching(
        preferred_batch_size=[policy.preferred_rows],
        max_queue_delay_microseconds=round(policy.max_delay * 1e6),
        default_queue_policy=QueuePolicy(
            max_queue_size=policy.max_queue,
            default_timeout_microseconds=round((policy.timeout or 0.0) * 1e6),
        ),
    )
