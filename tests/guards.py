"""Routes under test on their own: behind the application's Edge, without keys."""

from fastapi import APIRouter, FastAPI

from service.api.auth.middleware import RequireKey
from service.api.auth.policy import Access, Keys, Need
from service.api.control.error_handlers import Edge, Guarded

NOTHING = RequireKey(Access(Keys(), Keys()), Need.NOTHING)


def edge_of(*routers: APIRouter) -> Edge:
    """Return an application of these routers."""
    return Edge(FastAPI(), [Guarded(NOTHING, router) for router in routers])
