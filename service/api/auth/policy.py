"""Authorization: a decision from what a route needs and the keys that a request shows. Pure.

Each route declares what it needs (see ``guard.py``). A change of what is served or of how the
server runs needs an admin key. Everything else is open unless a prediction key is set.

A key that came is compared as a hash with the hashes of all that are known, each in constant time,
so that the time of an answer tells nothing. No key is kept, logged or shown: only the first eight
digits of its hash, by which the audit log says whose change it was.
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
    """What a request must show."""

    NOTHING = 0
    API_KEY = 1
    ADMIN_KEY = 2


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
    """The keys of one server and what each allows."""

    admin: Keys
    api: Keys

    def admit(self, need: Need, headers: Headers) -> str:
        """The name of the caller, such as ``key 1a2b3c4d``; "" where no key is needed.

        Raises:
            Unauthenticated: a key is needed, and none that is known came.
            Forbidden: this key allows predictions only, or no key allows changes.
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
        if not self.admin.digests:
            raise Forbidden(
                "this server has no admin key, so it takes no changes; "
                "start it with QUANTSERVE_ADMIN_KEY or QUANTSERVE_ADMIN_KEY_FILE"
            )
        given = given_keys(headers)
        name = self.admin.find(given)
        if name is None and self.api.find(given) is not None:
            raise Forbidden("this key allows predictions; changes need an admin key")
        return f"key {_known(name, given, 'an admin key')}"


def given_keys(headers: Headers) -> list[bytes]:
    """The keys that a request shows."""
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
