"""The model and version in the path of an inference request, and the client's request id."""

import re
from functools import lru_cache
from typing import NamedTuple

PATH = re.compile(
    r"/v2/models/(?P<v2>[^/]+)(?:/versions/(?P<n2>[^/]+))?/infer"
    r"|/v1/models/(?P<v1>[^/:]+)(?:/versions/(?P<n1>[^/:]+))?:predict"
)
PLAIN = re.compile(rb"[\w./:-]{1,511}")
"""A URL without a query or percent-encoding, not longer than the URL of any possible model."""
LONGEST_ID = 128


class Target(NamedTuple):
    """The protocol, model and version in a path."""

    protocol: str
    model: str
    version: str | None


def target_of(path: str) -> Target | None:
    """Return the target of a decoded path; None if it is not an inference path."""
    match = PATH.fullmatch(path)
    if match is None:
        return None
    v2, n2, one, n1 = match.groups()
    return Target("v1", one, n1) if v2 is None else Target("v2", v2, n2)


@lru_cache(maxsize=1024)
def target_of_url(url: bytes) -> Target | None:
    """Return the target of a URL as it was sent; None also for a URL that must be decoded first."""
    return target_of(url.decode()) if PLAIN.fullmatch(url) else None


def given_id(header: bytes | None) -> bytes | None:
    """Return a client's id for its request; None if it cannot be used in headers and the log."""
    usable = header and len(header) <= LONGEST_ID and header.isascii()
    return header if usable else None
