"""From Triton's model configuration, as a client sends it with a load, to the settings of
model.toml. What has no counterpart here is refused by name: silence would be a promise.

Source: https://github.com/triton-inference-server/common/blob/main/protobuf/model_config.proto
"""

import re
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from service.api.control.metadata import CUT, PLATFORM
from service.api.protocol.json_tensors import parse_json
from service.config import first_problem
from service.core.batching import RUN_ROWS
from service.core.errors import MalformedRequest
from service.core.names import MODEL_FILE

Settings = dict[str, Any]
Positive = Annotated[int, Field(ge=1)]
Natural = Annotated[int, Field(ge=0)]
MICRO = 1e-6
CODE = re.compile("custom_op|op_library|model_operations")
CODE_SAYS = (
    "custom operators are code, which no request can bring; the operator of the server names a "
    "library in model.toml"
)


class _Message(BaseModel):
    """Numbers may come as strings: that is how protobuf writes 64 bits in JSON."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class QueuePolicy(_Message):
    """How many requests may wait, and how long; 0 for any number, any time."""

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
    """How rows of several requests come to share a run."""

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
    """How many instances run side by side."""

    count: Positive = 1
    kind: Literal["KIND_AUTO", "KIND_CPU"] = "KIND_AUTO"
    name: str = ""


class Latest(_Message):
    """The highest versions."""

    num_versions: Positive = 1


class Specific(_Message):
    """These versions."""

    versions: tuple[Positive, ...] = Field(min_length=1)


class VersionPolicy(_Message):
    """Which versions to load: one of the three."""

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
    """An input or output. The file says what they are; a client that sends a configuration back
    sends them too."""

    name: str
    data_type: str
    dims: tuple[int, ...]


class Parameter(_Message):
    """A setting of the backend."""

    string_value: str


class ModelConfiguration(_Message):
    """What of Triton's configuration has a counterpart."""

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
    parameters: dict[Literal["intra_op_thread_count", "larger_requests"], Parameter] = Field(
        default_factory=dict
    )

    def settings(self) -> Settings:
        """The sections of model.toml that say the same."""
        batching = self.dynamic_batching.settings() if self.dynamic_batching else {}
        # What GET shows of a model without a limit comes back without one.
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
        sections = {"batching": batching, "instances": instances, "versions": versions}
        found = {name: section for name, section in sections.items() if section}
        # Every version has a model.onnx unless something else is said.
        named = self.default_model_filename not in ("", MODEL_FILE)
        return found | ({"file": self.default_model_filename} if named else {})


def read_configuration(model: str, text: str) -> ModelConfiguration:
    """The configuration in a JSON text, for the model of this name.

    Raises:
        MalformedRequest: it is not JSON, is for another model, or has what does not exist here.
    """
    try:
        document = _snake_case(parse_json(text.encode()))
        _refuse_code(document)
        found = ModelConfiguration.model_validate(document)
    except MalformedRequest as error:
        raise MalformedRequest(str(error).replace("the body", "config")) from None
    except ValidationError as error:
        raise MalformedRequest(_problem(error)) from None
    if found.name not in ("", model):
        raise MalformedRequest(f'config: the name is "{found.name:.80}", the model "{model}"')
    return found


def _refuse_code(document: Any) -> None:
    """Custom operators are code: wherever a client may name a library for them."""
    sections = [document, document.get("session"), document.get("parameters")]
    for section in sections:
        for key in section if isinstance(section, dict) else ():
            if CODE.search(key):
                raise MalformedRequest(f"config: {key:.80} is not supported: {CODE_SAYS}")


def _snake_case(value: Any) -> Any:
    """With keys as in protobuf's text, where they are as in its JSON."""
    if isinstance(value, dict):
        return {re.sub("[A-Z]", _lower, key): _snake_case(each) for key, each in value.items()}
    return [_snake_case(each) for each in value] if isinstance(value, list) else value


def _lower(found: re.Match[str]) -> str:
    return f"_{found[0].lower()}"


def _problem(error: ValidationError) -> str:
    key, kind, message, given = first_problem(error.errors(include_url=False))
    if kind in ("extra_forbidden", "literal_error"):
        got = "" if kind == "extra_forbidden" else f" with {given!r:.80}"
        return f"config: {key}{got} is not supported; {SUPPORTED}"
    return f"config: {key}: {message}, got {given!r:.80}"


SUPPORTED = (
    "what is: max_batch_size, dynamic_batching, instance_group (one, on CPU), version_policy,"
    f" parameters.intra_op_thread_count, parameters.larger_requests, platform {PLATFORM}"
)
