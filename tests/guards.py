"""Routes under test on their own: behind the application's edge, open to everybody."""

from fastapi import APIRouter, FastAPI

from service.api.edge import Edge, Guarded
from service.api.guard import RequireKey
from service.api.keys import Access, Keys, Need

NOTHING = RequireKey(Access(Keys(), Keys()), Need.NOTHING)


def edge_of(*routers: APIRouter) -> Edge:
    """An application of these routers."""
    return Edge(FastAPI(), [Guarded(NOTHING, router) for router in routers])
