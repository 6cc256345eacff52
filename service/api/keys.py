"""Who may do what: a decision on a request's path and headers. Pure.

Changing what is served (``/admin``, load and unload of ``/v2/repository``) or how the server runs
(``/v2/logging``, ``/v2/trace/setting``) takes an admin key.
Without one set, it is closed as soon as other machines can reach the server, and open to this
machine alone otherwise. Everything else is open unless a prediction key is set.

A key that came is compared as a hash with the hashes of all that are known, each in constant time,
so that the time of an answer tells nothing. No key is kept, logged or shown: only the first eight
digits of its hash, by which the audit log says whose change it was.
"""

import hashlib
import hmac
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum
from ipaddress import IPv6Address, ip_address

from service.core.errors import Forbidden, Unauthenticated

Headers = Mapping[bytes, list[bytes]]

INDEX = re.compile(r"/v2/repository/(?:[^/]+/)?index")
SETTINGS = re.compile(r"/v2/logging|/v2/(?:models/[^/]+/)?trace/setting")
OPEN = re.compile(r"/v2/health/(?:live|ready)|/metrics|/docs(?:/.*)?")
"""What probes and Prometheus ask for, and what is the same on every server, needs no key."""
READING = ("GET", "HEAD", "OPTIONS")
FORWARDED = (b"forwarded", b"x-forwarded-for", b"x-real-ip")
LOOPBACK = "loopback"
HOW = "send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"


class Need(Enum):
    """What a request must show."""

    NOTHING = 0
    API_KEY = 1
    ADMIN_KEY = 2


def need_of(method: str, path: str) -> Need:
    """What a request for a path, decoded, must show; a path that nobody knows needs a key too."""
    if path == "/admin" or path.startswith("/admin/"):
        return Need.ADMIN_KEY
    if path.startswith("/v2/repository/") and not INDEX.fullmatch(path):
        return Need.ADMIN_KEY
    if SETTINGS.fullmatch(path) and method not in READING:
        return Need.ADMIN_KEY
    return Need.NOTHING if OPEN.fullmatch(path) else Need.API_KEY


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address; false for every name but localhost."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback


@dataclass(frozen=True, slots=True)
class Keys:
    """Known keys, as their SHA-256."""

    digests: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, keys: Iterable[str]) -> "Keys":
        """Keep the hashes of keys."""
        return cls(tuple(hashlib.sha256(key.encode()).digest() for key in keys))

    def find(self, given: Iterable[bytes]) -> str | None:
        """The first eight hexadecimal digits of the hash of the key that is known, if one is."""
        found = None
        for digest in [hashlib.sha256(key).digest() for key in given]:
            # No early end: the time taken does not tell which of the keys it was, or almost was.
            for known in self.digests:
                if hmac.compare_digest(digest, known):
                    found = known.hex()[:8]
        return found


@dataclass(frozen=True, slots=True)
class Access:
    """Who may do what on one server; ``loopback`` says that only this machine can reach it."""

    admin: Keys
    api: Keys
    loopback: bool

    def admit(self, need: Need, headers: Headers) -> str:
        """Who asks: ``key 1a2b3c4d``, ``loopback``, or nothing where nobody need be known.

        Raises:
            Unauthenticated: a key is needed, and none that is known came.
            Forbidden: nobody, or not the holder of this key, may do that.
        """
        if need is Need.ADMIN_KEY:
            return self._admin(headers)
        if need is Need.API_KEY and self.api.digests:
            given = given_keys(headers)
            # An admin may predict as well; both are always looked up.
            names = [keys.find(given) for keys in (self.api, self.admin)]
            return f"key {_known(names[0] or names[1], given, 'a key')}"
        return ""

    def _admin(self, headers: Headers) -> str:
        given = given_keys(headers)
        if self.admin.digests:
            name = self.admin.find(given)
            if name is None and self.api.find(given) is not None:
                raise Forbidden("this key allows predictions; changes need an admin key")
            return f"key {_known(name, given, 'an admin key')}"
        if self.loopback and not self.api.digests:
            check_local(headers)
            return LOOPBACK
        why = "it has a prediction key" if self.loopback else "it listens on more than loopback"
        raise Forbidden(
            f"this server takes no changes: {why}, but has no admin key; "
            "start it with QUANTSERVE_ADMIN_KEY or QUANTSERVE_ADMIN_KEY_FILE"
        )


def given_keys(headers: Headers) -> list[bytes]:
    """The keys that a request shows."""
    keys = list(headers.get(b"x-api-key", ()))
    for value in headers.get(b"authorization", ()):
        scheme, _, key = value.partition(b" ")
        if scheme.lower() == b"bearer":
            keys.append(key.strip())
    return keys


def check_local(headers: Headers) -> None:
    """Refuse what comes from a web page or another machine, where no key tells it apart.

    A browser on this machine can be made to send requests here by any page that it shows: with a
    form or fetch to 127.0.0.1 (cross-site request forgery), or from a name of the page's own that
    its owner then points to 127.0.0.1 (DNS rebinding). The first carries a foreign Origin or
    Sec-Fetch-Site, which a page cannot forge; the second carries its name as Host. A proxy on this
    machine would let other machines in, and shows itself by what it adds. A key needs none of
    this, since no browser adds it by itself.

    Raises:
        Forbidden: with what to do.
    """
    hosts = headers.get(b"host", [])
    if len(hosts) != 1 or not is_loopback(_host_name(hosts[0])):
        shown = b", ".join(hosts).decode("latin-1")
        raise Forbidden(_unless_key(f"only for the host 127.0.0.1 or localhost, not for {shown!r}"))
    same = {b"http://" + hosts[0], b"https://" + hosts[0]}
    if not same.issuperset(headers.get(b"origin", ())):
        raise Forbidden(_unless_key("not from web pages of another origin"))
    if not {b"same-origin", b"none"}.issuperset(headers.get(b"sec-fetch-site", ())):
        raise Forbidden(_unless_key("not from web pages of another site"))
    if any(name in headers for name in FORWARDED):
        raise Forbidden(_unless_key("not through a proxy"))


def _host_name(host: bytes) -> str:
    """The name in ``name:port`` or ``[address]:port``."""
    match = re.fullmatch(r"(?:\[([^\]]*)\]|([^:]*))(?::\d*)?", host.decode("latin-1"))
    return (match[1] or match[2] or "") if match else ""


def _unless_key(what: str) -> str:
    return f"without an admin key, changes are open to this machine alone: {what:.200}"


def _known(name: str | None, given: list[bytes], what: str) -> str:
    if name is not None:
        return name
    raise Unauthenticated("the key is not known" if given else f"this needs {what}: {HOW}")
