"""The parts of a server that are imported only if they are in use, because they take memory."""

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING

from service.api.auth.middleware import check_predicts
from service.api.auth.policy import Access
from service.api.dataplane.asgi import App
from service.api.dataplane.inference import Inference
from service.config.settings import Settings
from service.core.errors import ConfigError
from service.core.events import Observer
from service.core.exemplars import Exemplars
from service.core.statistics import Statistics
from service.engine.repository.context import Context
from service.supervised import Supervised

if TYPE_CHECKING:
    from service.api.grpc.server import GRPCServer
    from service.engine.host.shared_memory import Regions
    from service.tracing.spans import Tracing
    from service.workers.member import Member
    from service.workers.received import AnswerMessage
    from service.workers.wiring import Fleet


def tracer(exemplars: Exemplars) -> "Tracing":
    """Return the tracer, which is imported only if tracing is on.

    Raises:
        ConfigError: the packages for it are not installed.
    """
    try:
        from service.tracing.spans import Tracing
    except ImportError as error:
        why = f"tracing needs a package that is not installed: {error.name}"
        raise ConfigError(f"{why}; pip install 'quantserve[tracing]'") from None
    return Tracing(exemplars)


def grpc_server(
    settings: Settings,
    inference: Inference,
    app: App,
    access: Access,
    forward: Mapping[str, App],
) -> "GRPCServer":
    """Return the server for gRPC, which is imported only if its port is open.

    Raises:
        ConfigError: the packages for it are not installed, or a file cannot be read.
    """
    try:
        from service.api.grpc.server import GRPCServer, Port, Tls
    except ImportError as error:
        why = f"--grpc-port needs a package that is not installed: {error.name}"
        raise ConfigError(f"{why}; pip install 'quantserve[grpc]'") from None
    tls = None
    if settings.grpc_tls_cert and settings.grpc_tls_key:
        tls = Tls(settings.grpc_tls_cert, settings.grpc_tls_key, settings.grpc_tls_client_ca)
    port = Port(
        settings.host,
        settings.grpc_port or 0,
        settings.max_body_bytes,
        tls,
        settings.grpc_compression,
    )
    admit = partial(check_predicts, access) if access.api.digests else None
    return GRPCServer(port, inference, app, admit, forward)


def message_answerer(inference: Inference) -> "AnswerMessage":
    """Return the function that answers forwarded gRPC messages."""
    from service.api.grpc.forwarded import answer_message

    return partial(answer_message, inference)


def member_of(parent: Supervised) -> "Member | None":
    """Return the channel to the supervisor, if this process is one of several workers."""
    if parent.seat is None:
        return None
    from service.workers.member import Member

    return Member(parent.seat)


def counting(member: "Member | None", statistics: Statistics) -> Observer:
    """Return the observer that counts changes. Of several workers, only one counts each change."""
    if member is None:
        return statistics
    from service.workers.wiring import counted_once

    return counted_once(member, statistics)


def shared_regions(settings: Settings) -> "Regions | None":
    """Return the shared memory of clients, if it is enabled."""
    if settings.shared_memory is None:
        return None
    from service.engine.host.shared_memory import Regions

    return Regions(settings.shared_memory)


def fleet_of(
    settings: Settings, context: Context, member: "Member | None", regions: "Regions | None"
) -> "Fleet | None":
    """Return the interface to the other workers, if there are any."""
    if member is None:
        return None
    from service.workers.wiring import Fleet

    return Fleet.of(settings, context, member, regions)
