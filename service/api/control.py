"""The control plane: ordinary FastAPI. Errors are {"error": "..."} here too."""

from collections.abc import Callable
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse, Response
from starlette.exceptions import HTTPException

from service import __version__
from service.api.errors import status_of
from service.core.batching import BatchingMode
from service.core.errors import NotFound, QuantserveError
from service.core.statistics import Histogram, Statistics
from service.core.tensors import TensorSpec
from service.engine.model import Model, ModelVersion
from service.engine.repository import ModelRepository

EXTENSIONS = [
    "binary_tensor_data",
    "classification",
    "model_configuration",
    "schedule_policy",
    "statistics",
]
Render = Callable[[str], tuple[bytes, str]]


def control_plane(
    repository: ModelRepository, statistics: Statistics, render_metrics: Render
) -> FastAPI:
    """The application for everything but inference."""
    app = FastAPI(title="quantserve", version=__version__, redirect_slashes=False)
    _errors(app)
    _health(app, repository)
    _metadata(app, repository)
    _statistics(app, repository, statistics)
    _version_1(app, repository)

    @app.get("/metrics", tags=["metrics"], summary="Metrics for Prometheus")
    async def metrics(request: Request) -> Response:
        body, content_type = render_metrics(request.headers.get("accept", ""))
        return Response(body, headers={"content-type": content_type})

    return app


def _errors(app: FastAPI) -> None:
    @app.exception_handler(QuantserveError)
    async def ours(_: Request, error: QuantserveError) -> JSONResponse:
        return JSONResponse({"error": str(error)}, status_of(error))

    @app.exception_handler(HTTPException)
    async def of_starlette(request: Request, error: HTTPException) -> JSONResponse:
        text = f"{error.detail}: {request.method} {request.url.path}"
        return JSONResponse({"error": text}, error.status_code, headers=error.headers)

    @app.exception_handler(RequestValidationError)
    async def of_fastapi(_: Request, error: RequestValidationError) -> JSONResponse:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        return JSONResponse({"error": f"{where}: {first['msg']}"}, 422)


def _health(app: FastAPI, repository: ModelRepository) -> None:
    @app.get("/v2/health/live", tags=["health"])
    async def live() -> dict[str, bool]:
        return {"live": True}

    @app.get("/v2/health/ready", tags=["health"])
    async def ready() -> JSONResponse:
        return JSONResponse({"ready": repository.ready}, 200 if repository.ready else 503)

    @app.get("/v2/models/{name}/ready", tags=["health"])
    @app.get("/v2/models/{name}/versions/{number}/ready", tags=["health"])
    async def model_ready(name: str, number: int | None = None) -> dict[str, Any]:
        repository.version(name, number).serving()
        return {"name": name, "ready": True}


def _metadata(app: FastAPI, repository: ModelRepository) -> None:
    @app.get("/v2", tags=["metadata"])
    @app.get("/v2/", include_in_schema=False)
    async def server() -> dict[str, Any]:
        return {"name": "quantserve", "version": __version__, "extensions": EXTENSIONS}

    @app.get("/v2/models/{name}", tags=["metadata"])
    @app.get("/v2/models/{name}/versions/{number}", tags=["metadata"])
    async def model(name: str, number: int | None = None) -> dict[str, Any]:
        version = repository.version(name, number)
        return _describe(repository.model(name), version)

    @app.get("/v2/models/{name}/config", tags=["metadata"])
    @app.get("/v2/models/{name}/versions/{number}/config", tags=["metadata"])
    async def config(name: str, number: int | None = None) -> dict[str, Any]:
        return _configuration(repository.version(name, number))

    @app.post("/v2/repository/index", tags=["repository"])
    async def index(request: Request) -> list[dict[str, str]]:
        body = await request.body()
        only_ready = bool(body.strip()) and bool((await request.json()).get("ready"))
        rows = [row for each in repository for row in _index(each)]
        return [row for row in rows if not only_ready or row["state"] == "READY"]


def _index(model: Model) -> list[dict[str, str]]:
    if not model.versions:
        return [{"name": model.name, "state": "UNAVAILABLE", "reason": model.reason}]
    return [
        {
            "name": model.name,
            "version": str(version.number),
            "state": version.state.value,
            "reason": version.reason,
        }
        for version in model.versions.values()
    ]


def _describe(model: Model, version: ModelVersion) -> dict[str, Any]:
    loaded, _ = version.serving()
    return {
        "name": model.name,
        "versions": [str(number) for number in sorted(model.versions)],
        "platform": "onnxruntime_onnx",
        "inputs": [_tensor(spec) for spec in loaded.signature.inputs],
        "outputs": [_tensor(spec) for spec in loaded.signature.outputs],
        "parameters": {
            "precision": str(loaded.precision),
            "batching": loaded.plan.mode.value,
            "batching_note": loaded.plan.note,
            "batch_deviation": str(loaded.probe.deviation),
        },
    }


def _tensor(spec: TensorSpec) -> dict[str, Any]:
    return {"name": spec.name, "datatype": spec.datatype.name, "shape": spec.wire_shape}


def _configuration(version: ModelVersion) -> dict[str, Any]:
    loaded, _ = version.serving()
    batched = loaded.signature.batchable
    result: dict[str, Any] = {
        "name": version.model,
        "platform": "onnxruntime_onnx",
        "backend": "onnxruntime",
        "max_batch_size": loaded.policy.max_rows if batched else 0,
        "input": [_configured(spec, batched) for spec in loaded.signature.inputs],
        "output": [_configured(spec, batched) for spec in loaded.signature.outputs],
        "instance_group": [
            {"name": version.model, "kind": "KIND_CPU", "count": loaded.plan.instances}
        ],
    }
    if loaded.plan.mode is BatchingMode.COMBINE:
        delay = int(loaded.policy.max_delay * 1e6)
        result["dynamic_batching"] = {"max_queue_delay_microseconds": delay}
    return result


def _configured(spec: TensorSpec, batched: bool) -> dict[str, Any]:
    name = {"BYTES": "STRING"}.get(spec.datatype.name, spec.datatype.name)
    dims = spec.wire_shape[1:] if batched else spec.wire_shape
    return {"name": spec.name, "data_type": f"TYPE_{name}", "dims": dims}


def _statistics(app: FastAPI, repository: ModelRepository, statistics: Statistics) -> None:
    def stats(version: ModelVersion) -> dict[str, Any]:
        found = statistics.version(version.model, version.number)
        done = {"count": sum(found.queue.counts) - found.failed, "ns": _ns(found.busy_seconds)}
        runs = {"count": found.runs}
        none = {"count": 0, "ns": 0}
        return {
            "name": version.model,
            "version": str(version.number),
            "last_inference": 0,
            "inference_count": found.rows,
            "execution_count": found.runs,
            "inference_stats": {
                "success": done,
                "fail": {"count": found.failed, "ns": 0},
                "queue": _duration(found.queue),
                "compute_input": {**runs, "ns": _ns(found.assemble_seconds)},
                "compute_infer": _duration(found.compute),
                "compute_output": {**runs, "ns": _ns(found.split_seconds)},
                "cache_hit": none,
                "cache_miss": none,
            },
            "response_stats": {},
            "batch_stats": [],
            "memory_usage": [],
        }

    @app.get("/v2/models/stats", tags=["statistics"])
    async def all_statistics() -> dict[str, Any]:
        return {"model_stats": [stats(v) for model in repository for v in model.versions.values()]}

    @app.get("/v2/models/{name}/stats", tags=["statistics"])
    @app.get("/v2/models/{name}/versions/{number}/stats", tags=["statistics"])
    async def model_statistics(name: str, number: int | None = None) -> dict[str, Any]:
        return {"model_stats": [stats(repository.version(name, number))]}

    # "stats" must not be taken for the name of a model: the most special path comes first.
    routes = app.router.routes
    routes.insert(0, routes.pop(next(i for i, r in enumerate(routes) if _path(r) == STATS)))


STATS = "/v2/models/stats"


def _path(route: Any) -> str:
    return getattr(route, "path", "")


def _duration(histogram: Histogram) -> dict[str, int]:
    return {"count": sum(histogram.counts), "ns": _ns(histogram.total)}


def _ns(seconds: float) -> int:
    return int(seconds * 1e9)


def _version_1(app: FastAPI, repository: ModelRepository) -> None:
    @app.get("/v1/models", tags=["V1"])
    async def names() -> dict[str, list[str]]:
        return {"models": [model.name for model in repository]}

    @app.get("/v1/models/{name}", tags=["V1"])
    @app.get("/v1/models/{name}/versions/{number}", tags=["V1"])
    async def status(name: str, number: int | None = None) -> dict[str, Any]:
        version = repository.version(name, number)
        if version is None:
            raise NotFound(f'there is no model "{name}"')
        state = {"READY": "AVAILABLE"}.get(version.state.value, version.state.value)
        return {
            "name": name,
            "ready": state == "AVAILABLE",
            "model_version_status": [
                {
                    "version": str(version.number),
                    "state": state,
                    "status": {
                        "error_code": "OK" if not version.reason else "UNKNOWN",
                        "error_message": version.reason,
                    },
                }
            ],
        }
