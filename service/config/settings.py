"""Settings of ``quantserve serve``."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator

from service.config.values import MOST_SECONDS, Value, told
from service.core.errors import ConfigError
from service.core.names import ALLOWED, NAME
from service.core.requests import NonFinite
from service.files import read_stream

PREFIX = "QUANTSERVE_"
OF_CLIENTS = {"QUANTSERVE_URL"}
"""Variables of the client commands, which are not settings of the server."""
KEY_BYTES = 64 * 1024
"""Largest size of a file of keys."""


class Settings(Value):
    """Settings of ``quantserve serve``: from a flag, else from a QUANTSERVE_* variable, else the
    default."""

    models: Path = Field(Path("models"), description="folder with the models")
    name: str | None = Field(
        None,
        description="name of the model whose file is in the models folder itself; default: the "
        "name of the folder",
    )
    allow_empty: bool = Field(False, description="report ready even if there is no model to serve")
    host: str = Field("127.0.0.1", description="address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="port to listen on, 0 for any free one")
    grpc_port: int | None = Field(
        None, ge=0, le=65535, description="port for gRPC, 0 for any free one; default: no gRPC"
    )
    grpc_compression: Literal["none", "deflate", "gzip"] = Field(
        "none", description="compression of gRPC answers, for clients that accept it"
    )
    grpc_tls_cert: Path | None = Field(
        None, description="PEM file with the certificate of the gRPC port and its chain"
    )
    grpc_tls_key: Path | None = Field(None, description="PEM file with the key of that certificate")
    grpc_tls_client_ca: Path | None = Field(
        None,
        description="PEM file with the CA certificates for gRPC clients; clients then need a "
        "certificate",
    )
    workers: Annotated[int, Field(ge=1, le=64)] | Literal["auto"] = Field(
        1,
        description="processes that share the port, each with its share of the cores and its own "
        "copy of the models; auto for one per core, as far as memory allows",
    )
    worker_timeout: float = Field(
        15.0, gt=0, description="seconds after which a worker that does not respond is replaced"
    )
    ready_workers: int = Field(
        0, ge=0, le=64, description="workers that must be ready before the server is, 0 for all"
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
        description="seconds that a client may take to send a head, to send a body, or to read "
        "nothing of its answer",
    )
    shutdown_timeout: float = Field(
        30.0, ge=0, description="seconds to finish admitted requests at shutdown"
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
        description="seconds to continue serving at shutdown while not ready, so that load "
        "balancers stop sending requests first",
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
        "flight; 0 for the memory of its cgroup or the machine",
    )
    poll: float = Field(
        0.0,
        ge=0,
        description="seconds between checks of the models folder, 0 to load on demand only",
    )
    no_pin: bool = Field(
        False,
        description="do not write swaps to serving.toml, for example if the models folder is "
        "read-only: swaps then last until the next restart, and for this server only",
    )
    shared_memory: str | None = Field(
        None,
        min_length=1,
        description="accept tensors in shared memory from clients on this machine, if the key"
        " begins with this prefix",
    )
    no_tune: bool = Field(
        False, description="ignore the results that quantserve tune has saved beside the models"
    )
    tracing: bool = Field(
        False, description="send OpenTelemetry traces to OTEL_EXPORTER_OTLP_ENDPOINT"
    )
    no_supervisor: bool = Field(
        False,
        description="run without the parent process that restarts a crashed server, if another "
        "program does that",
    )
    access_log: bool = Field(False, description="log every request")
    max_upload_bytes: int = Field(
        2 * 2**30, ge=1, description="largest model file that may be uploaded"
    )
    allow_custom_ops: bool = Field(
        False, description="load the libraries of operators that a model.toml names: they run code"
    )
    admin_key: SecretStr = SecretStr("")
    admin_key_file: Path | None = Field(
        None, description="file with the keys that may change the served models"
    )
    api_key: SecretStr = SecretStr("")
    api_key_file: Path | None = Field(
        None, description="file with the keys that may predict; without it every client may"
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


def read_keys(variable: str, given: SecretStr, file: Path | None) -> tuple[str, ...]:
    """Return the keys in a variable or a file, separated by commas or spaces. Several keys allow
    rotation.

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
        raise ConfigError(f"{where} holds no key: it is blank; unset it if no key is needed")
    if not all(key.isascii() and key.isprintable() for key in keys):
        raise ConfigError(f"{where}: a key may hold only printable ASCII characters")
    return keys


def load_settings(flags: Mapping[str, object], environment: Mapping[str, str]) -> Settings:
    """Build the settings: flags take precedence over QUANTSERVE_* variables, these over defaults.

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
        raise ConfigError(told(error, _source_of(flags))) from None


def _source_of(flags: Mapping[str, object]) -> Callable[[str], str]:
    def source(key: str) -> str:
        return f"--{key.replace('_', '-')}" if key in flags else f"{PREFIX}{key.upper()}"

    return source
