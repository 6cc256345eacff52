"""Conversion of Triton's model configuration to the settings of model.toml.

Source: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.config.values import first_problem
from service.core.batching import RUN_ROWS
from service.core.names import MODEL_FILE

Settings = dict[str, Any]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
MICRO = 1e-6
PLATFORM = "onnxruntime_onnx"
LARGER, CUT, REFUSED = "larger_requests", "cut", "refused"
"""A parameter of this server and its values: whether a request may have more rows than one run."""
CACHE_BYTES = 64 * 2**20
"""Size of a model's response cache; Triton's configuration has no size."""


class _Message(BaseModel):
    """A message. Numbers may be strings, because protobuf writes 64-bit numbers so in JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class QueuePolicy(_Message):
    """How many requests may wait, and how long; 0 for no limit."""

    max_queue_size: Natural = 0
    default_timeout_microseconds: Natural = 0
    timeout_action: Literal["REJECT"] = "REJECT"
    allow_timeout_override: Literal[True] = True

    def settings(self) -> dict[str, Any]:
        """Keys of ``[batching]``."""
        kept: dict[str, Any] = {}
        if self.max_queue_size:
            kept["max_queue_size"] = self.max_queue_size
        if self.default_timeout_microseconds:
            kept["timeout"] = self.default_timeout_microseconds * MICRO
        return kept


class DynamicBatching(_Message):
    """How rows of several requests are combined in a run."""

    preferred_batch_size: tuple[Positive, ...] = ()
    max_queue_delay_microseconds: Natural = 0
    default_queue_policy: QueuePolicy = QueuePolicy()

    def settings(self) -> dict[str, Any]:
        """Keys of ``[batching]``."""
        kept: dict[str, Any] = {"max_queue_delay": self.max_queue_delay_microseconds * MICRO}
        if self.preferred_batch_size:
            kept["preferred_batch_size"] = max(self.preferred_batch_size)
        return kept | self.default_queue_policy.settings()


class InstanceGroup(_Message):
    """The number of instances that run in parallel."""

    count: Positive = 1
    kind: Literal["KIND_AUTO", "KIND_CPU"] = "KIND_AUTO"
    name: str = ""


class Latest(_Message):
    """Load the highest versions."""

    num_versions: Positive = 1


class Specific(_Message):
    """Load these versions."""

    versions: tuple[Positive, ...] = Field(min_length=1)


class VersionPolicy(_Message):
    """Which versions to load: one of the three fields is set."""

    latest: Latest | None = None
    all: _Message | None = None
    specific: Specific | None = None

    def settings(self) -> dict[str, Any]:
        """The section ``[versions]``."""
        if self.specific is not None:
            return {"policy": "specific", "numbers": self.specific.versions}
        if self.all is not None:
            return {"policy": "all"}
        return {"policy": "latest", "count": (self.latest or Latest()).num_versions}


class Tensor(_Message):
    """An input or output. The model file declares them; a client that sends a configuration back
    sends them too."""

    name: str
    data_type: str
    dims: tuple[int, ...]


class Parameter(_Message):
    """A setting of the backend."""

    string_value: str


class ResponseCache(_Message):
    """Whether outputs are kept for identical requests."""

    enable: bool = False

    def settings(self) -> dict[str, Any]:
        """The section ``[cache]``."""
        return {"max_bytes": CACHE_BYTES if self.enable else 0}


class ModelConfiguration(_Message):
    """The fields of Triton's configuration that model.toml has equivalent settings for."""

    name: str = ""
    platform: Literal["", "onnxruntime_onnx"] = ""
    backend: Literal["", "onnxruntime"] = ""
    default_model_filename: str = ""
    max_batch_size: Natural | None = None
    input: tuple[Tensor, ...] = ()
    output: tuple[Tensor, ...] = ()
    instance_group: tuple[InstanceGroup, ...] = Field((), max_length=1)
    dynamic_batching: DynamicBatching | None = None
    version_policy: VersionPolicy | None = None
    response_cache: ResponseCache | None = None
    parameters: dict[Literal["intra_op_thread_count", "larger_requests"], Parameter] = Field(
        default_factory=dict
    )

    def settings(self) -> Settings:
        """Return the sections of model.toml with the same meaning."""
        batching = self.dynamic_batching.settings() if self.dynamic_batching else {}
        # GET shows run rows and "cut" for a model without a limit: read these as no limit.
        larger = self.parameters.get("larger_requests")
        cut = self.max_batch_size == RUN_ROWS and larger is not None and larger.string_value == CUT
        if self.max_batch_size and not cut:
            batching["max_batch_size"] = self.max_batch_size
        elif self.max_batch_size == 0:
            batching["combine"] = "never"
        instances: dict[str, Any] = {}
        for group in self.instance_group:
            instances["count"] = group.count
        if threads := self.parameters.get("intra_op_thread_count"):
            instances["threads"] = threads.string_value
        versions = self.version_policy.settings() if self.version_policy else {}
        cache = self.response_cache.settings() if self.response_cache else {}
        sections = {"batching": batching, "instances": instances, "versions": versions}
        sections["cache"] = cache
        found = {name: section for name, section in sections.items() if section}
        # The default file name is model.onnx.
        named = self.default_model_filename not in ("", MODEL_FILE)
        return found | ({"file": self.default_model_filename} if named else {})


def problem(error: ValidationError) -> str:
    """Format the first problem of a configuration as text."""
    key, kind, message, given = first_problem(error.errors(include_url=False))
    if kind in ("extra_forbidden", "literal_error"):
        got = "" if kind == "extra_forbidden" else f" with {given!r:.80}"
        return f"config: {key}{got} is not supported; {SUPPORTED}"
    return f"config: {key}: {message}, got {given!r:.80}"


SUPPORTED = (
    "supported are: max_batch_size, dynamic_batching, instance_group (one, on CPU), version_policy,"
    " response_cache, parameters.intra_op_thread_count, parameters.larger_requests, platform"
    f" {PLATFORM}"
)
