"""Settings of the process and of each model: frozen values; an unknown key is an error."""

import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple, TypeVar

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    SecretStr,
    ValidationError,
    ValidationInfo,
    field_validator,
    model_validator,
)

from service.core.batching import RUN_ROWS
from service.core.errors import ConfigError
from service.core.names import ALLOWED, NAME
from service.core.requests import NonFinite
from service.files import read_stream, read_toml

PREFIX = "QUANTSERVE_"
MOST_SECONDS = 7 * 24 * 3600.0
"""A week: what is longer is a mistake, or meant to be for ever."""
OF_CLIENTS = {"QUANTSERVE_URL"}
KEY_BYTES = 64 * 1024
"""Of a file of keys."""
"""Variables of the commands that speak to a server."""


class _Value(BaseModel):
    # TOML and float() accept nan and inf, which compare in unexpected ways as a bound or a time.
    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, ser_json_inf_nan="strings"
    )


_Kind = TypeVar("_Kind", bound=_Value)


class Settings(_Value):
    """Settings of ``quantserve serve``: by flag, else by QUANTSERVE_* variable, else these."""

    models: Path = Field(Path("models"), description="folder with the models")
    name: str | None = Field(
        None,
        description="name of the model whose file lies in the models folder itself; the folder's "
        "when left out",
    )
    allow_empty: bool = Field(False, description="be ready also while there is nothing to serve")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on, 0 for any free one")
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="port for gRPC, 0 for any free one; no gRPC without it"
    )
    grpc_compression: Literal["none", "deflate", "gzip"] = Field(
        "none", description="how answers over gRPC are compressed, for clients that take it"
    )
    grpc_tls_cert: Path | None = Field(
        None, description="file with the certificate of the port for gRPC and its chain, in PEM"
    )
    grpc_tls_key: Path | None = Field(None, description="file with the key of that certificate")
    grpc_tls_client_ca: Path | None = Field(
        None,
        description="file with certificates that sign those of gRPC clients, who need one then",
    )
    workers: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        1,
        description="processes that share the port, each with its share of the cores and its own "
        "copy of the models; auto for one for each core, as far as memory allows",
    )
    worker_timeout: float = Field(
        15.0, gt=0, description="seconds after which a worker that stands still is replaced"
    )
    cores: int = Field(0, ge=0, description="cores to use, 0 for all that the process may use")
    non_finite: NonFinite = Field(
        "literal",
        description="NaN and infinity in JSON answers: literal (NaN, Infinity, -Infinity) or null, "
        "unless a request's parameter non_finite says otherwise",
    )
    max_body_bytes: int = Field(
        64 * 2**20, ge=1024, description="largest request body, counted after decompression"
    )
    max_response_bytes: int = Field(
        64 * 2**20, ge=1, description="largest answer to a prediction, counted before compression"
    )
    body_timeout: float = Field(
        30.0,
        gt=0,
        description="seconds that a client may take to send a head, to send a body, or to take "
        "nothing of its answer",
    )
    shutdown_timeout: float = Field(
        30.0, ge=0, description="seconds to finish what was admitted when told to stop"
    )
    run_timeout: float = Field(
        300.0,
        gt=0,
        le=MOST_SECONDS,
        description="seconds that one run of a graph may take, unless model.toml says otherwise",
    )
    load_timeout: float = Field(
        300.0,
        gt=0,
        le=MOST_SECONDS,
        description="seconds that loading a version may take, unless its model.toml says otherwise",
    )
    drain_delay: float = Field(
        0.0,
        ge=0,
        description="seconds to go on serving, not ready, so that load balancers look away first",
    )
    log_level: Literal["debug", "info", "warning", "error"] = Field(
        "info", description="least severe message to log"
    )
    log_format: Literal["auto", "text", "json"] = Field(
        "auto", description="auto: text on a terminal, JSON elsewhere"
    )
    memory_budget: int = Field(
        0,
        ge=0,
        description="bytes that the process may hold: itself, models, requests and answers in "
        "flight; 0 for what its cgroup or the machine has",
    )
    poll: float = Field(
        0.0,
        ge=0,
        description="seconds between looks at the models folder, 0 to load on demand only",
    )
    no_pin: bool = Field(
        False,
        description="do not write swaps to serving.toml, as where the models folder is read-only: "
        "they hold until the next restart, and for this server alone",
    )
    shared_memory: str | None = Field(
        None,
        min_length=1,
        description="take tensors in shared memory from clients on this machine, where its key"
        " begins with this",
    )
    no_tune: bool = Field(
        False, description="do without what quantserve tune has saved beside the models"
    )
    tracing: bool = Field(
        False, description="send OpenTelemetry traces to where OTEL_EXPORTER_OTLP_ENDPOINT says"
    )
    no_supervisor: bool = Field(
        False,
        description="do without the parent process that replaces a server that crashes, where "
        "something else does that",
    )
    access_log: bool = Field(False, description="log every request")
    max_upload_bytes: int = Field(
        2 * 2**30, ge=1, description="largest model file that may be uploaded"
    )
    allow_custom_ops: bool = Field(
        False, description="load libraries of operators that a model.toml names: they are code"
    )
    admin_key: SecretStr = SecretStr("")
    admin_key_file: Path | None = Field(
        None, description="file with the keys that may change what is served"
    )
    api_key: SecretStr = SecretStr("")
    api_key_file: Path | None = Field(
        None, description="file with the keys that may predict; all may when there is none"
    )

    @field_validator("name")
    @classmethod
    def _name_is_one(cls, name: str | None) -> str | None:
        if name is not None and not NAME.fullmatch(name):
            raise ValueError(f"expected {ALLOWED}")
        return name

    @model_validator(mode="after")
    def _tls_is_whole(self) -> "Settings":
        if (self.grpc_tls_cert is None) != (self.grpc_tls_key is None):
            raise ValueError("--grpc-tls-cert and --grpc-tls-key belong together")
        if self.grpc_tls_client_ca is not None and self.grpc_tls_cert is None:
            raise ValueError("--grpc-tls-client-ca needs --grpc-tls-cert and --grpc-tls-key")
        return self


class PaddingConfig(_Value):
    """``[batching.padding]``: lengths to fill variable axes up to, and with what, per input."""

    buckets: tuple[Annotated[int, Field(ge=1)], ...] = Field(min_length=1)
    values: dict[str, Annotated[float, Field(allow_inf_nan=True)]] = Field(min_length=1)


class BatchingConfig(_Value):
    """``[batching]`` of model.toml. Times are seconds; what is left out is measured at load.

    ``max_batch_size`` is the most rows that one request may have. Where it is left out, larger
    requests than ``run_rows`` are cut into runs, if the model's rows do not influence each other.
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
        """The most rows in one run."""
        return self.max_batch_size or RUN_ROWS


class InstancesConfig(_Value):
    """``[instances]``: how many run side by side, each with how many threads.

    ``kind`` "threads" runs them on one session, "sessions" gives each a copy of its own.
    ``lone_threads`` is for a run that begins while nothing else runs or waits; 1 keeps no second
    session for it.
    """

    count: int | None = Field(None, ge=1, le=256)
    kind: Literal["threads", "sessions"] = "threads"
    threads: int | None = Field(None, ge=1, le=256)
    lone_threads: int | None = Field(None, ge=1, le=256)


class SchedulingConfig(_Value):
    """``[scheduling]``: the model's weight when models compete for the cores, while more runs are
    waiting than there are cores."""

    weight: float = Field(1.0, ge=0.01, le=100)


class SessionConfig(_Value):
    """``[session]``: how ONNX Runtime loads the graph.

    ``kernels`` of eight bits: "auto" takes what is right on this machine. ``custom_ops`` is the
    name of a shared library beside model.toml, with operators that ONNX Runtime lacks.
    """

    kernels: Literal["auto", "default", "exact"] = "auto"
    custom_ops: str | None = None


class GenerationConfig(_Value):
    """``[generation]``: how a language model is run.

    ``slots`` is how many requests decode at the same time, shared out among the instances;
    ``context`` the most tokens of a prompt and its answer, what memory allows when left out;
    ``chunk`` the most tokens of a prompt that are read between two tokens of the others.
    """

    slots: int | None = Field(None, ge=1, le=1024)
    context: int | None = Field(None, ge=2)
    chunk: int = Field(128, ge=1, le=65536)


class CacheConfig(_Value):
    """``[cache]``: bytes of outputs to keep, for requests that ask the same again. 0 keeps none."""

    max_bytes: int = Field(0, ge=0)


class ImageBoxesConfig(_Value):
    """``[image.boxes]``: the output whose boxes are converted to pixels of the request's image.

    ``scale``: whether its values are pixels of the model's input or shares of its sides; ``axis``
    the one whose first four values are a box.
    """

    output: str
    form: Literal["xyxy", "xywh", "cxcywh", "yxyx"] = "xyxy"
    scale: Literal["pixels", "unit"] = "pixels"
    axis: Literal[-1, 1] = -1


_Side = Annotated[int, Field(ge=1, le=16384)]
_Colour = Annotated[int, Field(ge=0, le=255)]


class ImageConfig(_Value):
    """``[image]``: how an input is made of images; ``docs/images.md`` explains each key.

    What is None is taken from preprocessor_config.json, if there is one.
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


class TextConfig(_Value):
    """``[text]``: how a model with a tokenizer.json takes texts; read from the files beside it
    where left out.

    ``task`` "none" takes no texts. ``pooling`` and ``normalize`` are for embeddings, ``activation``
    for the scores of classification and reranking. Texts of more than ``max_length`` tokens are cut
    if ``truncate``, else refused. ``run_tokens`` bounds the tokens of one run, padding included.
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


class OutputConfig(_Value):
    """``[outputs.<name>]``: the names of an output's classes, in order."""

    labels: tuple[str, ...] = ()


class ProbeConfig(_Value):
    """``[probe]``: lengths for symbolic axes of the rows that are generated at load."""

    dims: dict[str, Annotated[int, Field(ge=1)]] = Field(default_factory=dict)


class LimitsConfig(_Value):
    """``[limits]``: seconds that one run of the graph, and that loading a version may take; the
    server's settings where left out."""

    run_timeout: float | None = Field(None, gt=0, le=MOST_SECONDS)
    load_timeout: float | None = Field(None, gt=0, le=MOST_SECONDS)


class VersionsConfig(_Value):
    """``[versions]``: which are loaded. One of them serves: the pinned one, else the highest.

    ``count`` belongs to the policy "latest", ``numbers`` to "specific". ``keep_previous`` leaves
    the version that served before loaded, so that a rollback takes no time.
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


class ToleranceConfig(_Value):
    """``[gate.outputs.<name>]``: what an output must reach on golden.npz; see ``core.gate``."""

    model_config = ConfigDict(allow_inf_nan=True)  # inf is no bound; NaN is in none

    max_abs_error: float | None = Field(None, ge=0)
    max_relative_error: float | None = Field(None, ge=0)
    min_cosine: float | None = Field(None, ge=-1, le=1)
    min_top1_agreement: float | None = Field(None, ge=0, le=1)
    min_accuracy: float | None = Field(None, ge=0, le=1)


class GateConfig(_Value):
    """``[gate]``: what a version must reach before it may serve.

    ``max_slowdown`` is how many times as long as the live version it may take on golden.npz.
    ``max_perplexity_ratio`` (1.05 when left out) and ``min_top1_agreement`` (0.85) are for language
    models, against the model that golden.npz was made by.
    """

    model_config = ConfigDict(allow_inf_nan=True)

    max_slowdown: float | None = Field(None, gt=0)
    max_perplexity_ratio: float | None = Field(None, gt=0)
    min_top1_agreement: float | None = Field(None, ge=0, le=1)
    outputs: dict[str, ToleranceConfig] = Field(default_factory=dict)


class PinConfig(_Value):
    """``serving.toml``: which version serves, whatever is higher; written by a swap."""

    version: int = Field(ge=1)
    previous: int | None = Field(None, ge=1)
    forced: bool = False
    signature_change: bool = False
    v1_outputs: tuple[str, ...] = ()


class ModelConfig(_Value):
    """``model.toml``: everything in it has a default.

    ``file`` is which .onnx file of a version's folder to serve, where there are several: a path
    inside that folder.
    """

    file: str = ""
    versions: VersionsConfig = VersionsConfig()
    gate: GateConfig = GateConfig()

    batching: BatchingConfig = BatchingConfig()
    instances: InstancesConfig = InstancesConfig()
    scheduling: SchedulingConfig = SchedulingConfig()
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


def read_keys(variable: str, given: SecretStr, file: Path | None) -> tuple[str, ...]:
    """The keys that a variable or a file holds, separated by commas or spaces, for rotation.

    Raises:
        ConfigError: both are given, the file cannot be read, either is blank, or a key is not
            ASCII.
    """
    text = given.get_secret_value()
    if file is not None:
        if text:
            raise ConfigError(f"{variable} and {variable}_FILE are both set; one of them is enough")
        try:
            text = read_stream(file, KEY_BYTES).decode("utf-8-sig")
        except (OSError, ValueError) as error:
            why = getattr(error, "strerror", None) or "it is not text"
            raise ConfigError(f"{variable}_FILE {file}: {why}") from None
    keys = tuple(key for key in re.split(r"[\s,]+", text) if key)
    where = variable if file is None else f"{variable}_FILE {file}"
    if not keys and (file is not None or text):
        raise ConfigError(f"{where} holds no key: it is blank; unset it if none is wanted")
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise ConfigError(f"{where}: a key may hold only printable ASCII characters")
    return keys


def load_settings(flags: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """Flags over QUANTSERVE_* variables over defaults.

    Raises:
        ConfigError: a variable or flag is unknown, or its value is not allowed.
    """
    known = Settings.model_fields
    values: dict[str, object] = {}
    for name, value in environment.items():
        # An empty variable counts as unset: compose files pass unset variables as empty ones.
        if name.startswith(PREFIX) and name not in OF_CLIENTS and value:
            field = name.removeprefix(PREFIX).lower()
            if field not in known:
                raise ConfigError(f"unknown setting {name} in the environment")
            values[field] = value
    values |= flags
    try:
        return Settings.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_told(error, _source_of(flags))) from None


def load_model_config(
    path: Path,
    override: Mapping[str, Any] | None = None,
    under: Mapping[str, Any] | None = None,
) -> ModelConfig:
    """Read a model.toml; one that does not exist gives the defaults. ``override`` holds sections
    that are laid over the file's, ``under`` such that the file's are laid over.

    Raises:
        ConfigError: it cannot be read, or has an unknown key or a value that is not allowed.
    """
    values = _laid_over(_laid_over(dict(under or {}), read_toml(path) or {}), override or {})
    return _validated(ModelConfig, values, path.name)


def load_pin(path: Path) -> PinConfig | None:
    """Read a serving.toml; None where there is none.

    Raises:
        ConfigError: it cannot be read, or has an unknown key or a value that is not allowed.
    """
    values = read_toml(path)
    return None if values is None else _validated(PinConfig, values, path.name)


def _validated(kind: type[_Kind], values: Mapping[str, Any], name: str) -> _Kind:
    try:
        return kind.model_validate(values)
    except ValidationError as error:
        raise ConfigError(_told(error, lambda key: f"{name}: {key}")) from None


def _laid_over(values: dict[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Tables are merged; everything else is replaced."""
    merged = dict(values)
    for key, value in more.items():
        below = merged.get(key)
        both = isinstance(below, dict) and isinstance(value, Mapping)
        merged[key] = _laid_over(below, value) if both else value  # type: ignore[arg-type]
    return merged


class Problem(NamedTuple):
    """The first thing that is wrong with a document: the key, pydantic's name of the kind, what is
    expected, and what came."""

    key: str
    kind: str
    message: str
    given: object


def first_problem(errors: Sequence[Mapping[str, Any]]) -> Problem:
    """The first of pydantic's errors."""
    first = errors[0]
    message = first["msg"].removeprefix("Value error, ")  # pydantic's word for our own checks
    return Problem(".".join(map(str, first["loc"])), first["type"], message, first.get("input"))


def _told(error: ValidationError, source: Callable[[str], str]) -> str:
    problem = first_problem(error.errors(include_url=False))
    if problem.kind == "extra_forbidden":
        return f"{source(problem.key)} is not a setting"
    return f"{source(problem.key)}: {problem.message}, got {problem.given!r:.200}"


def _source_of(flags: Mapping[str, object]) -> Callable[[str], str]:
    def source(key: str) -> str:
        return f"--{key.replace('_', '-')}" if key in flags else f"{PREFIX}{key.upper()}"

    return source
