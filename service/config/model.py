"""Settings of a model: ``model.toml``, and ``serving.toml``, which a swap writes."""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import (
    ConfigDict,
    Field,
    StrictBool,
    ValidationError,
    ValidationInfo,
    field_validator,
)

from service.config.values import MOST_SECONDS, Value, told
from service.core.batching import RUN_ROWS
from service.core.errors import ConfigError
from service.files import read_toml

_Kind = TypeVar("_Kind", bound=Value)


class PaddingConfig(Value):
    """``[batching.padding]``: the lengths to which variable axes are padded, and the padding value
    of each input."""

    buckets: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    values: dict[str, Annotated[float, Field(allow_inf_nan=True)]] = Field(min_length=1)


class BatchingConfig(Value):
    """``[batching]`` of model.toml. Times are seconds; missing keys are measured at load.

    ``max_batch_size`` is the largest number of rows of one request. Without it, requests of more
    than ``run_rows`` rows are cut into several runs, if the model's rows do not influence each
    other.
    """

    max_batch_size: int | None = Field(None, ge=1)
    preferred_batch_size: int | None = Field(None, ge=1)
    max_queue_delay: float = Field(0.0, ge=0, le=10)
    max_queue_size: int = Field(1024, ge=1)
    timeout: float | None = Field(None, gt=0)
    combine: Literal["auto", "always", "never"] = "auto"
    tolerance: float = Field(1e-3, ge=0)
    padding: PaddingConfig | None = None

    @property
    def run_rows(self) -> int:
        """The largest number of rows in one run."""
        return self.max_batch_size or RUN_ROWS


class InstancesConfig(Value):
    """``[instances]``: the number of parallel instances, and the threads of each.

    ``kind`` "threads" runs all instances on one session, "sessions" loads one session for each.
    ``lone_threads`` is for a run that begins while nothing else runs or waits; with 1 there is no
    second session for it.
    """

    count: int | None = Field(None, ge=1, le=256)
    kind: Literal["threads", "sessions"] = "threads"
    threads: int | None = Field(None, ge=1, le=256)
    lone_threads: int | None = Field(None, ge=1, le=256)


class SchedulingConfig(Value):
    """``[scheduling]``: the model's weight when models compete for the cores because more runs wait
    than there are cores."""

    weight: float = Field(1.0, ge=0.01, le=100)


class WorkerConfig(Value):
    """``[worker]``: with ``own``, the model runs in a dedicated worker. The value is read when the
    server starts."""

    own: StrictBool = False


class SessionConfig(Value):
    """``[session]``: how ONNX Runtime loads the graph.

    ``kernels`` selects the 8-bit kernels; "auto" selects those that are correct on this machine.
    ``provider`` is the execution provider, which must be part of the installed ONNX Runtime.
    ``custom_ops`` is the name of a shared library beside model.toml, with operators that ONNX
    Runtime lacks.
    """

    kernels: Literal["auto", "default", "exact"] = "auto"
    provider: Literal["cpu", "openvino", "xnnpack"] = "cpu"
    custom_ops: str | None = None


class GenerationConfig(Value):
    """``[generation]``: how a language model is run.

    ``slots`` is the number of requests that decode at the same time, divided among the instances.
    ``context`` is the largest number of tokens of a prompt and its answer; without it, memory sets
    the limit. ``chunk`` is the largest number of prompt tokens that are read between two tokens of
    the other answers; two would leave a single token of some prompts, which has other scores.
    ``reuse``: if a prompt begins as another one in the cache, only the rest of it is read.
    """

    slots: int | None = Field(None, ge=1, le=1024)
    context: int | None = Field(None, ge=2)
    chunk: int = Field(128, ge=3, le=65536)
    reuse: bool = True


class CacheConfig(Value):
    """``[cache]``: bytes of outputs to keep for identical requests. 0 turns the cache off."""

    max_bytes: int = Field(0, ge=0)


class ImageBoxesConfig(Value):
    """``[image.boxes]``: the output whose boxes are converted to pixels of the request's image.

    ``scale`` says whether its values are pixels of the model's input or shares of its sides.
    ``axis`` is the axis whose first four values are a box.
    """

    output: str
    form: Literal["xyxy", "xywh", "cxcywh", "yxyx"] = "xyxy"
    scale: Literal["pixels", "unit"] = "pixels"
    axis: Literal[-1, 1] = -1


_Side = Annotated[int, Field(ge=1, le=16384)]
_Colour = Annotated[int, Field(ge=0, le=255)]


class ImageConfig(Value):
    """``[image]``: how images are converted to an input; ``docs/images.md`` explains each key.

    A value of None is read from preprocessor_config.json, if that file exists.
    """

    name: str = Field("image", min_length=1, max_length=128)
    input: str | None = None
    size: tuple[_Side, _Side] | None = None
    resize: Literal["shortest", "stretch", "fit", "none"] | None = None
    shorter_side: _Side | None = None
    longest_side: _Side | None = None
    crop: bool | None = None
    resample: Literal["nearest", "box", "bilinear", "hamming", "bicubic", "lanczos"] | None = None
    scale: float | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[Annotated[float, Field(gt=0)], ...] | None = None
    layout: Literal["nchw", "nhwc"] | None = None
    colours: Literal["rgb", "bgr"] | None = None
    background: tuple[_Colour, _Colour, _Colour] = (255, 255, 255)
    pad: _Colour = 0
    max_pixels: int = Field(2**26, ge=1, le=89_478_485)
    classes: int = Field(0, ge=0, le=1000)
    boxes: ImageBoxesConfig | None = None


class TextConfig(Value):
    """``[text]``: how a model with a tokenizer.json handles texts. Missing keys are read from the
    files beside the model.

    With ``task`` "none" the model accepts no texts. ``pooling`` and ``normalize`` are for
    embeddings, ``activation`` for the scores of classification and reranking. Texts of more than
    ``max_length`` tokens are cut if ``truncate``, else refused. ``run_tokens`` bounds the tokens of
    one run, padding included.
    """

    task: (
        Literal["embedding", "classification", "token-classification", "reranking", "none"] | None
    ) = None
    pooling: Literal["mean", "cls", "last"] | None = None
    normalize: bool | None = None
    activation: Literal["softmax", "sigmoid", "none"] | None = None
    max_length: int | None = Field(None, ge=2, le=2**20)
    truncate: bool | None = None
    run_tokens: int | None = Field(None, ge=1, le=2**24)


class OutputConfig(Value):
    """``[outputs.<name>]``: the names of an output's classes, in order."""

    labels: tuple[str, ...] = ()


class ProbeConfig(Value):
    """``[probe]``: lengths for symbolic axes of the rows that are generated at load."""

    dims: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)


class LimitsConfig(Value):
    """``[limits]``: seconds that one run of the graph and the load of a version may take. The
    server's settings are the defaults."""

    run_timeout: float | None = Field(None, gt=0, le=MOST_SECONDS)
    load_timeout: float | None = Field(None, gt=0, le=MOST_SECONDS)


class VersionsConfig(Value):
    """``[versions]``: which versions are loaded. The pinned version serves, else the highest one.

    ``count`` belongs to the policy "latest", ``numbers`` to "specific". ``keep_previous`` keeps the
    version that served before loaded, so that a rollback takes no time.
    """

    policy: Literal["latest", "specific", "all"] = "latest"
    count: int = Field(1, ge=1, le=100)
    numbers: tuple[Annotated[int, Field(ge=1)], ...] = Field((), validate_default=True)
    keep_previous: bool = True

    @field_validator("numbers")
    @classmethod
    def _numbers_are_for_specific(
        cls, numbers: tuple[int, ...], others: ValidationInfo
    ) -> tuple[int, ...]:
        if (others.data.get("policy") == "specific") != bool(numbers):
            raise ValueError('belongs to the policy "specific", which needs it')
        return numbers


class ToleranceConfig(Value):
    """``[gate.outputs.<name>]``: the thresholds of an output on golden.npz; see ``core.gate``."""

    model_config = ConfigDict(allow_inf_nan=True)  # inf is no bound; NaN fails every bound

    max_abs_error: float | None = Field(None, ge=0)
    max_relative_error: float | None = Field(None, ge=0)
    min_cosine: float | None = Field(None, ge=-1, le=1)
    min_top1_agreement: float | None = Field(None, ge=0, le=1)
    min_accuracy: float | None = Field(None, ge=0, le=1)


class GateConfig(Value):
    """``[gate]``: the conditions that a version must meet before it may serve.

    ``max_slowdown`` is the largest ratio of its time to that of the live version on golden.npz.
    ``max_perplexity_ratio`` (default 1.05) and ``min_top1_agreement`` (default 0.85) are for
    language models, relative to the model that made golden.npz.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    max_slowdown: float | None = Field(None, gt=0)
    max_perplexity_ratio: float | None = Field(None, gt=0)
    min_top1_agreement: float | None = Field(None, ge=0, le=1)
    outputs: dict[str, ToleranceConfig] = Field(default_factory=dict)


class PinConfig(Value):
    """``serving.toml``: the version that serves, even below higher ones. A swap writes it."""

    version: int = Field(ge=1)
    previous: int | None = Field(None, ge=1)
    forced: bool = False
    signature_change: bool = False
    v1_outputs: tuple[str, ...] = ()


class ModelConfig(Value):
    """``model.toml``: every key has a default.

    ``file`` is the .onnx file to serve if a version's folder has several: a path inside that
    folder.
    """

    file: str = ""
    versions: VersionsConfig = VersionsConfig()
    gate: GateConfig = GateConfig()

    batching: BatchingConfig = BatchingConfig()
    instances: InstancesConfig = InstancesConfig()
    scheduling: SchedulingConfig = SchedulingConfig()
    worker: WorkerConfig = WorkerConfig()
    session: SessionConfig = SessionConfig()
    limits: LimitsConfig = LimitsConfig()
    generation: GenerationConfig = GenerationConfig()
    cache: CacheConfig = CacheConfig()
    image: ImageConfig | None = None
    text: TextConfig = TextConfig()
    outputs: dict[str, OutputConfig] = Field(default_factory=dict)
    probe: ProbeConfig = ProbeConfig()

    @field_validator("file")
    @classmethod
    def _file_is_inside(cls, file: str) -> str:
        inside = not any(part[:1] in ("", ".") for part in file.split("/"))
        plain = file.isprintable() and "\\" not in file and file.lower().endswith(".onnx")
        if file and not (inside and plain):
            raise ValueError("expected an .onnx file inside the version's folder")
        return file


def load_model_config(
    path: Path,
    override: Mapping[str, Any] | None = None,
    under: Mapping[str, Any] | None = None,
) -> ModelConfig:
    """Read a model.toml; without a file, return the defaults. The sections of ``override`` replace
    those of the file, and the sections of the file replace those of ``under``.

    Raises:
        ConfigError: the file cannot be read, or has an unknown key or a value that is not allowed.
    """
    values = _laid_over(_laid_over(dict(under or {}), read_toml(path) or {}), override or {})
    return _validated(ModelConfig, values, path.name)


def load_pin(path: Path) -> PinConfig | None:
    """Read a serving.toml; return None if it does not exist.

    Raises:
        ConfigError: the file cannot be read, or has an unknown key or a value that is not allowed.
    """
    values = read_toml(path)
    return None if values is None else _validated(PinConfig, values, path.name)


def _validated(kind: type[_Kind], values: Mapping[str, Any], name: str) -> _Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(told(error, lambda key: f"{name}: {key}")) from None


def _laid_over(values: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Lay ``more`` over ``values``: tables are merged, everything else is replaced."""
    merged = dict(values)
    for key, value in more.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, Mapping)
        merged[key] = _laid_over(below, value) if both else value  # type: ignore[arg-type]
    return merged
