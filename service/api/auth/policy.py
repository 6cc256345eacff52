"""Authorization: a decision based on the key that a route needs and the keys in a request. No I/O.

Each route declares the key that it needs (see ``middleware.py``). A change of the served models or
of the server's settings needs an admin key. All other routes are open unless a prediction key is
set.

The hash of a key in a request is compared with the hashes of all known keys, each in constant time,
so that the response time reveals nothing about the keys. No key is stored, logged or shown. The
audit log identifies the caller by the first eight digits of the key's hash.
"""

import hashlib
import hmac
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import Enum

from service.core.errors import Forbidden, Unauthenticated

Headers = Mapping[bytes, list[bytes]]

HOW = "send it as 'Authorization: Bearer KEY' or 'X-API-Key: KEY'"


class Need(Enum):
    """The key that a request must have."""

    NOTHING = 0
    API_KEY = 1
    ADMIN_KEY = 2


@dataclass(frozen=True, slots=True)
class Keys:
    """The SHA-256 hashes of known keys."""

    digests: tuple[bytes, ...] = ()

    @classmethod
    def of(cls, keys: Iterable[str]) -> "Keys":
        """Return the hashes of these keys."""
        return cls(tuple(hashlib.sha256(key.encode()).digest() for key in keys))

    def find(self, given: Iterable[bytes]) -> str | None:
        """Return the first eight hex digits of a known key's hash; None if no key is known."""
        found = None
        for digest in [hashlib.sha256(key).digest() for key in given]:
            # No early exit: the duration must not reveal which key matched, or almost matched.
            for known in self.digests:
                if hmac.compare_digest(digest, known):
                    found = known.hex()[:8]
        return found


@dataclass(frozen=True, slots=True)
class Access:
    """The admin keys and the prediction keys of one server."""

    admin: Keys
    api: Keys

    def admit(self, need: Need, headers: Headers) -> str:
        """Return the name of the caller, such as ``key 1a2b3c4d``; "" if no key is needed.

        Raises:
            Unauthenticated: a key is needed, and the request has no known key.
            Forbidden: the key allows predictions only, or the server has no admin key.
        """
        if need is Need.ADMIN_KEY:
            return self._admin(headers)
        if need is Need.API_KEY and self.api.digests:
            given = given_keys(headers)
            # An admin key also allows predictions. Both kinds are always looked up.
            names = [keys.find(given) for keys in (self.api, self.admin)]
            return f"key {_known(names[0] or names[1], given, 'a key')}"
        return ""

    def _admin(self, headers: Headers) -> str:
        if not self.admin.digests:
            raise Forbidden(
                "this server has no admin key, so it accepts no changes; "
                "start it with QUANTSERVE_ADMIN_KEY or QUANTSERVE_ADMIN_KEY_FILE"
            )
        given = given_keys(headers)
        name = self.admin.find(given)
        if name is None and self.api.find(given) is not None:
            raise Forbidden("this key allows predictions; changes need an admin key")
        return f"key {_known(name, given, 'an admin key')}"


def given_keys(headers: Headers) -> list[bytes]:
    """Return the keys in a request."""
    keys = list(headers.get(b"x-api-key", ()))
    for value in headers.get(b"authorization", ()):
        scheme, _, key = value.partition(b" ")
        if scheme.lower() == b"bearer":
            keys.append(key.strip())
    return keys


def _known(name: str | None, given: list[bytes], what: str) -> str:
    if name is not None:
        return name
    raise Unauthenticated("the key is not known" if given else f"this needs {what}: {HOW}")
