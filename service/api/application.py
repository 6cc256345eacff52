"""The control plane: all routes except inference. A FastAPI application, one router per file."""

import logging
from collections.abc import Sequence

from fastapi import APIRouter, FastAPI

from service import __version__
from service.api.auth.middleware import Guard
from service.api.control.error_handlers import Edge, Guarded
from service.api.control.health import health
from service.api.control.log_settings import SetLevel, log_changes, log_settings
from service.api.control.metadata import metadata
from service.api.control.model_config import model_config
from service.api.control.repository_index import index
from service.api.control.scrape import Render, scrape
from service.api.control.shared_memory import shared_memory
from service.api.control.statistics import Counted, statistics
from service.api.control.trace_settings import trace_changes, trace_settings
from service.api.control.v1_status import v1_status
from service.api.openapi.document import document
from service.api.openapi.example_answers import ExampleAnswers
from service.api.openapi.page import docs, openapi
from service.engine.repository.repository import ModelRepository


def control_plane(
    repository: ModelRepository,
    answers: ExampleAnswers,
    counted: Counted,
    render: Render,
    logger: logging.Logger,
    set_level: SetLevel,
    guard: Guard,
    language: Sequence[APIRouter] = (),
    reports: Sequence[APIRouter] = (),
    changes: Sequence[APIRouter] = (),
    shared: APIRouter | None = None,
) -> Edge:
    """Return the application with all routes except inference.

    Clients may change the level of ``logger`` through ``set_level``. ``language`` has the routes
    of language and text models. ``reports`` and ``changes`` have further routes, which need the
    admin key. ``shared`` has the routes for shared memory; None if the server has no shared memory.
    """
    app = FastAPI(title="quantserve", version=__version__, openapi_url=None, redirect_slashes=False)
    open_to_all = [health(repository), scrape(render), docs()]
    reading = [
        statistics(repository, counted),  # first: else "stats" in /v2/models/stats is a name
        metadata(repository),
        model_config(repository),
        index(repository),
        v1_status(repository),
        log_settings(logger),
        trace_settings(repository),
        shared or shared_memory(None),
        openapi(document(app, repository, answers)),
        *language,
    ]
    changing = [log_changes(logger, set_level), trace_changes(repository), *reports, *changes]
    return Edge(
        app,
        [
            *(Guarded(guard.nothing, router) for router in open_to_all),
            *(Guarded(guard.api_key, router) for router in reading),
            *(Guarded(guard.admin_key, router) for router in changing),
        ],
    )
