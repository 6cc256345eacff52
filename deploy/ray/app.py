"""quantserve as a Ray Serve application, for several machines with an existing Ray cluster.

    pip install '.[ray]'
    serve run deploy.ray.app:app                     from the repository's folder, or
    serve deploy deploy/ray/serve.yaml               to a cluster

Each replica is a complete server in its own process, with its own batching. /metrics has the
metrics of one replica, chosen by Ray; for all replicas, use Ray's metrics. The folder of models
(QUANTSERVE_MODELS) must be the same on all nodes; with QUANTSERVE_POLL replicas follow swaps. A
replica also starts if there is nothing to serve; /v2/health/ready then says so. Every request
passes through Ray's proxy: on a single machine, the server alone is faster.
"""

import asyncio
import os
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from ray import serve

from service.app import Server
from service.config.settings import load_settings
from service.logs import start_logs

Message = MutableMapping[str, Any]
Send = Callable[[Message], Awaitable[None]]


class WhenReady:
    """The server as an ASGI application whose startup completes when its models are loaded and
    warm, because Ray sends requests to applications that have started.
    """

    def __init__(self, server: Server, ready: asyncio.Event) -> None:
        self._server = server
        self._ready = ready

    async def __call__(
        self, scope: Message, receive: Callable[[], Awaitable[Message]], send: Send
    ) -> None:
        async def send_when_ready(message: Message) -> None:
            if message["type"] == "lifespan.startup.complete":
                await self._ready.wait()
            await send(message)

        is_lifespan = scope["type"] == "lifespan"
        await self._server(scope, receive, send_when_ready if is_lifespan else send)


def build() -> WhenReady:
    """Build the server of a replica, with the settings of its environment."""
    settings = load_settings({}, os.environ)
    start_logs(settings)
    ready = asyncio.Event()
    return WhenReady(Server(settings, lambda _: ready.set()), ready)


@serve.deployment(num_replicas=2, ray_actor_options={"num_cpus": 1}, max_ongoing_requests=1000)
@serve.ingress(build)
class Quantserve:
    """The deployment; each replica is one server."""


app = Quantserve.bind()
