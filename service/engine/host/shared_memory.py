"""Regions of POSIX shared memory that clients on this machine have registered.

The regions are read and written with system calls and never mapped. If a client shrank its region
during an access, a process that had mapped the region would be killed by a signal.
"""

import os
import re
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from stat import S_ISREG
from typing import Any

from service.core.errors import Conflict, Forbidden, InvalidName, MalformedRequest, NotFound
from service.core.names import ALLOWED, NAME
from service.core.requests import Place

FOLDER = Path("/dev/shm")
"""The folder in which Linux keeps the objects of ``shm_open``."""
KEY = re.compile(r"/?([A-Za-z0-9_][A-Za-z0-9_.-]{0,253})")
MOST_REGIONS = 256
"""The largest number of regions. Each one needs a file descriptor."""
MOST_BYTES = 2**62
FLAGS = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY


class Memory:
    """An open object of shared memory. It is closed with the last reference to it, so that its file
    descriptor never refers to another file."""

    def __init__(self, handle: int) -> None:
        self.handle = handle

    def __del__(self) -> None:
        with suppress(OSError):
            os.close(self.handle)

    @property
    def size(self) -> int:
        """The current size in bytes."""
        return os.fstat(self.handle).st_size


@dataclass(frozen=True, slots=True)
class Region:
    """A region: ``size`` bytes of the object ``key`` from ``offset`` on. ``memory`` is None if the
    object no longer existed when this process tried to open it."""

    name: str
    key: str
    offset: int
    size: int
    memory: Memory | None = None

    def to_json(self) -> dict[str, str | int]:
        """Return the region in the form of the protocol."""
        return {
            "name": self.name,
            "key": self.key,
            "offset": self.offset,
            "byte_size": self.size,
        }

    def read(self, place: Place, where: str) -> bytes:
        """Read the bytes of a place.

        Raises:
            MalformedRequest: the place is not in the region, or the object has become too small.
        """
        memory = self.checked(place, where)
        found = os.pread(memory.handle, place.size, self.offset + place.offset)
        while 0 < len(found) < place.size:  # one call returns at most 2 GiB
            at = self.offset + place.offset + len(found)
            more = os.pread(memory.handle, place.size - len(found), at)
            if not more:
                break
            found += more
        if len(found) < place.size:
            raise self._shrunk(place, where)
        return found

    def write(self, place: Place, data: bytes | bytearray | memoryview, where: str) -> None:
        """Write bytes at the beginning of a place.

        Raises:
            MalformedRequest: there are more bytes than the place has, the place is not in the
                region, or the object has become too small.
        """
        memory, rest = self.checked(place, where), memoryview(data)
        if len(rest) > place.size:
            raise MalformedRequest(
                f"{where} has {len(rest)} bytes, the request reserves {place.size} in region"
                f' "{self.name}"'
            )
        at = self.offset + place.offset
        try:
            while rest:
                written = os.pwrite(memory.handle, rest, at)
                at, rest = at + written, rest[written:]
        except OSError as error:
            raise MalformedRequest(f'{where}: region "{self.name}": {error.strerror}') from None

    def checked(self, place: Place, where: str) -> Memory:
        """Return the open object, after a check that it contains the whole place.

        Raises:
            MalformedRequest: see ``read``.
        """
        if place.offset + place.size > self.size:
            raise MalformedRequest(
                f"{where}: {place.size} bytes from {place.offset} on are not in region"
                f' "{self.name}", which has {self.size}'
            )
        if self.memory is None or self.memory.size < self.offset + place.offset + place.size:
            raise self._shrunk(place, where)
        return self.memory

    def _shrunk(self, place: Place, where: str) -> MalformedRequest:
        return MalformedRequest(
            f'{where}: region "{self.name}" was registered with {self.size} bytes, and its shared'
            f' memory "{self.key}" has become smaller than the {place.size} bytes from'
            f" {place.offset} on: register it again"
        )


class Regions:
    """The registered regions by name. Keys of shared memory must begin with ``prefix``."""

    def __init__(self, prefix: str) -> None:
        self._prefix = prefix.removeprefix("/")
        self._regions: dict[str, Region] = {}

    def find(self, name: str, where: str) -> Region:
        """Return the region that is registered under a name.

        Raises:
            MalformedRequest: there is no such region.
        """
        found = self._regions.get(name)
        if found is None:
            raise MalformedRequest(f'{where}: there is no shared memory region "{name:.80}"')
        return found

    def status(self, name: str = "") -> list[dict[str, str | int]]:
        """Return the registered regions: all, or the one with a name.

        Raises:
            NotFound: there is no such region.
        """
        if not name:
            return [self._regions[each].to_json() for each in sorted(self._regions)]
        if name not in self._regions:
            raise NotFound(f'there is no shared memory region "{name:.80}"')
        return [self._regions[name].to_json()]

    def register(self, name: str, key: str, offset: int, size: int) -> None:
        """Open the shared memory of a client.

        Raises:
            InvalidName, Forbidden: the name or the key is not allowed.
            Conflict: the name is in use, or there are too many regions.
            MalformedRequest: there is no such shared memory, or it is too small.
        """
        self._regions[name] = self.opened(name, key, offset, size)

    def opened(self, name: str, key: str, offset: int, size: int) -> Region:
        """Open the region for ``register``, and raise the same errors."""
        if not NAME.fullmatch(name):
            raise InvalidName(f"{name!r:.200} cannot be the name of a region: expected {ALLOWED}")
        file = KEY.fullmatch(key)
        if file is None:
            raise InvalidName(f"{key!r:.200} cannot be the key of shared memory, such as /name")
        if not file[1].startswith(self._prefix):
            raise Forbidden(
                f'shared memory "{key}" is not for this server: keys begin with "{self._prefix}"'
            )
        if name in self._regions:
            raise Conflict(f'shared memory region "{name}" is registered: unregister it first')
        if len(self._regions) >= MOST_REGIONS:
            raise Conflict(f"there are {MOST_REGIONS} shared memory regions: unregister one first")
        if offset < 0 or size < 1 or offset + size > MOST_BYTES:
            raise MalformedRequest(
                f"offset {offset:d} and byte_size {size:d}: expected at least 0 and 1"
            )
        memory = _open(file[1], key)
        if memory.size < offset + size:
            raise MalformedRequest(
                f'shared memory "{key}" has {memory.size} bytes, expected {offset + size}'
            )
        return Region(name, key, offset, size, memory)

    def unregister(self, name: str = "") -> None:
        """Remove a region, or all. It is no error if the region is not registered."""
        if name:
            self._regions.pop(name, None)
        else:
            self._regions.clear()

    def apply(self, change: Mapping[str, Any]) -> None:
        """Make a change that another process sent: ``{"verb": "register", "name", "key", "offset",
        "size"}`` or ``{"verb": "unregister", "name"}``.

        Raises:
            RequestError: see ``register``.
        """
        if change["verb"] == "register":
            self.register(change["name"], change["key"], change["offset"], change["size"])
        else:
            self.unregister(change["name"])

    def standing(self) -> dict[str, Any] | None:
        """Return the registered regions for ``restore``; None if there are none."""
        return {each: self._regions[each].to_json() for each in self._regions} or None

    def restore(self, standing: Mapping[str, Mapping[str, Any]] | None) -> None:
        """Register the regions of another process. A region whose shared memory no longer exists
        keeps its name, and requests that use it get an error."""
        for name in self._regions.keys() - (standing or {}).keys():
            self.unregister(name)
        for name, told in (standing or {}).items():
            if name in self._regions and self._regions[name].to_json() == told:
                continue
            self.unregister(name)
            where = (told["key"], told["offset"], told["byte_size"])
            try:
                self.register(name, *where)
            except (MalformedRequest, Forbidden, InvalidName, Conflict):
                self._regions[name] = Region(name, *where)


def _open(file: str, key: str) -> Memory:
    """Open a shared memory object.

    Raises:
        MalformedRequest: it cannot be opened, or is not shared memory.
    """
    try:
        memory = Memory(os.open(FOLDER / file, FLAGS))
        regular = S_ISREG(os.fstat(memory.handle).st_mode)
    except OSError as error:
        raise MalformedRequest(f'shared memory "{key}": {error.strerror}') from None
    if not regular:
        raise MalformedRequest(f'"{key}" is not shared memory')
    return memory
