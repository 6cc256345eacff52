"""Heads that were parsed before, by their bytes.

A client sends the same bytes as the head of nearly every request. Looking them up takes a small
part of the time in which the parser calls back for each header.
"""

from collections import OrderedDict

from service.api.http1.request import Head

HEAD_END = b"\r\n\r\n"
MOST_HEADS = 1024
LONGEST = 2048
"""Bytes of a head that is kept."""
MOST_HEADERS = 32
"""Headers of a head that is kept: a parsed header takes far more memory than its bytes. Without
this limit, heads of many short headers take 70 MB; with it, 10 MB."""


class KnownHeads:
    """The last heads of all connections; the oldest is forgotten first.

    Only complete heads of requests after which the connection stays open are kept, and only if
    their bodies have a length, so that the parser need not see these requests.
    """

    def __init__(self, most: int = MOST_HEADS) -> None:
        self._most = most
        # All mutable state.
        self._known: OrderedDict[bytes, Head] = OrderedDict()
        self.get = self._known.get
        """Return the head with these bytes; None if it is not known."""

    def __len__(self) -> int:
        return len(self._known)

    def add(self, data: bytes, head: Head) -> None:
        """Keep a head that was parsed from exactly these bytes, if it can be kept."""
        if not head.keep_alive or b"transfer-encoding" in head.fields:
            return
        if len(data) > LONGEST or len(head.headers) > MOST_HEADERS:
            return
        self._known[data] = head
        if len(self._known) > self._most:
            self._known.popitem(last=False)
