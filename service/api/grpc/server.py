"""The gRPC server: its port, its limits and its shutdown."""

import asyncio
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import grpc
from grpc import aio

from service.api.dataplane.inference import Inference
from service.api.grpc.control import ControlPlane
from service.api.grpc.forwarded import Calls
from service.api.grpc.infer import ModelInfer
from service.api.grpc.metadata import Admit
from service.api.grpc.services import services
from service.api.grpc.stream import ModelStreamInfer
from service.api.http1.asgi_call import App
from service.core.errors import ConfigError
from service.files import read_stream

LISTENERS = 8
"""Number of gRPC servers that share the port. One server accepts only one call in each iteration of
the event loop, so that calls would rarely share a batch. Several servers accept that many calls."""
MOST_CALLS = 8192
"""The maximum number of concurrent calls; further calls are refused."""
MOST_STREAMS = 1024
"""Maximum concurrent calls per connection; the client queues further calls."""
PING_MILLISECONDS = 60_000
"""Interval of keepalive pings on an idle connection."""
PEM_BYTES = 2**20
"""The maximum number of bytes of a file with certificates or a key."""
_log = logging.getLogger(__name__)


class Tls(NamedTuple):
    """Files in PEM format: the server's certificate with its chain, its key, and the authorities of
    clients' certificates. If ``clients`` is set, clients need a certificate."""

    certificate: Path
    key: Path
    clients: Path | None = None


class Port(NamedTuple):
    """The address and options of the server. ``number`` is the port, 0 for any free port.
    ``largest`` is the most bytes of a message; ``compression`` is for answers."""

    host: str
    number: int
    largest: int
    tls: Tls | None = None
    compression: str = "none"


class GRPCServer:
    """Answers calls on a port, from ``start`` to ``stop``."""

    def __init__(
        self,
        port: Port,
        inference: Inference,
        app: App,
        admit: Admit,
        forward: Mapping[str, App] = {},
    ) -> None:
        """``app`` answers all calls except inference. ``forward``: see ``Calls``."""
        seconds, calls = inference.body_timeout, Calls(inference, forward)
        infer = ModelInfer(calls, admit, seconds)
        stream = ModelStreamInfer(calls, admit, seconds)
        self._services = services(ControlPlane(app), infer, stream)
        self._credentials = credentials(port.tls) if port.tls else None
        self._port = port
        # All mutable state: the running servers, and the future of their shutdown.
        self._servers: list[Any] = []
        self._stopping: asyncio.Future[Any] | None = None

    async def start(self) -> int:
        """Listen, and return the number of the port.

        Raises:
            ConfigError: the port is not available.
        """
        number = self._port.number
        for _ in range(LISTENERS):
            # The other servers use the port of the first.
            server, number = self._listening(number)
            await server.start()
            self._servers.append(server)
        return number

    def _listening(self, number: int) -> tuple[Any, int]:
        server = aio.server(
            options=_options(self._port),
            maximum_concurrent_rpcs=MOST_CALLS // LISTENERS,
            compression=_compression(self._port.compression),
        )
        for name, handlers in self._services.items():
            made = grpc.method_handlers_generic_handler(name, handlers)
            server.add_generic_rpc_handlers((made,))
        host = self._port.host
        where = f"[{host}]:{number}" if ":" in host else f"{host}:{number}"
        try:
            if self._credentials is None:
                return server, server.add_insecure_port(where)
            return server, server.add_secure_port(where, self._credentials)
        except RuntimeError as error:
            raise ConfigError(f"cannot listen on {where} (--grpc-port): {error}") from None

    def begin_stop(self, seconds: float) -> None:
        """Accept no more calls. Running calls have ``seconds`` seconds to end."""
        if self._servers and self._stopping is None:
            self._stopping = asyncio.gather(*[each.stop(seconds) for each in self._servers])

    async def stop(self) -> None:
        """Stop the servers, and wait until they have ended."""
        self.begin_stop(0)
        if self._stopping is not None:
            await self._stopping


def credentials(tls: Tls) -> Any:
    """Return the credentials of a port with TLS.

    Raises:
        ConfigError: a file cannot be read.
    """
    pair = (_pem("--grpc-tls-key", tls.key), _pem("--grpc-tls-cert", tls.certificate))
    clients = _pem("--grpc-tls-client-ca", tls.clients) if tls.clients else None
    return grpc.ssl_server_credentials([pair], clients, require_client_auth=clients is not None)


def _pem(flag: str, file: Path) -> bytes:
    try:
        found = read_stream(file, PEM_BYTES)
    except OSError as error:
        raise ConfigError(f"{flag} {file}: {error.strerror or error}") from None
    if b"-----BEGIN" not in found:
        raise ConfigError(f"{flag} {file}: the file is not in PEM format")
    return found


def _options(port: Port) -> Sequence[tuple[str, int]]:
    return (
        ("grpc.so_reuseport", 1),
        ("grpc.max_receive_message_length", port.largest),
        ("grpc.max_send_message_length", -1),  # --max-response-bytes limits answers
        ("grpc.max_concurrent_streams", MOST_STREAMS),
        ("grpc.keepalive_time_ms", PING_MILLISECONDS),
        ("grpc.keepalive_timeout_ms", PING_MILLISECONDS // 3),
    )


def _compression(name: str) -> grpc.Compression:
    return {
        "none": grpc.Compression.NoCompression,
        "deflate": grpc.Compression.Deflate,
        "gzip": grpc.Compression.Gzip,
    }[name]
