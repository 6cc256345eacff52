"""The admin key that a server generates if none is set, in a file that only its user can read.

Commands of the same user on the same machine find it by the server's port. Each start of a server
generates a new key, and its end removes the file.
"""

import errno
import os
import re
import secrets
from collections.abc import Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from stat import S_ISREG
from urllib.parse import urlsplit

FOLDER_MODE, FILE_MODE = 0o700, 0o600
OTHERS_MAY_WRITE = 0o022
KEY = re.compile(r"[0-9a-f]{64}")
OTHER_LOOPBACK = "::1"
"""Addresses that "localhost" may resolve to."""


def key_file(host: str, port: int, environment: Mapping[str, str]) -> Path:
    """Return the path of a server's key file, in $XDG_STATE_HOME or ~/.local/state.

    The name contains the port, and for loopback addresses other than 127.0.0.1 also the address,
    since several servers may use the same port on different addresses.
    """
    state = environment.get("XDG_STATE_HOME") or "~/.local/state"
    name = f"{port}.key"
    if is_loopback(host) and host.lower() not in ("127.0.0.1", "localhost"):
        name = f"{host.lower()}_{name}"
    return Path(state, "quantserve", name).expanduser()


def make_key(path: Path, key: str = "") -> str:
    """Write a key to a file; without ``key``, a new random key. Returns the key.

    Raises:
        OSError: the file cannot be written, or its folder belongs to another user.
        RuntimeError: the user has no home folder.
    """
    key = key or secrets.token_hex(32)
    _own_folder(path.parent)
    draft = path.with_suffix(f".{secrets.token_hex(8)}")
    # Created with mode 0600 whatever the umask is, and renamed so that it is never incomplete.
    opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(opened, "w") as file:
            file.write(key + "\n")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return key


def _own_folder(folder: Path) -> None:
    """Create a folder that only this user can write to.

    Raises:
        PermissionError: it belongs to another user, who could replace the key.
    """
    folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        why = f"the folder belongs to uid {found.st_uid}, this process runs as {os.geteuid()}"
        raise PermissionError(errno.EPERM, why)
    if found.st_mode & OTHERS_MAY_WRITE:
        folder.chmod(FOLDER_MODE)


def drop_key(path: Path, key: str | None = None) -> None:
    """Remove a key file, if it exists. If ``key`` is given, the file is removed only if it contains
    this key, since another server may have replaced it."""
    with suppress(OSError, RuntimeError):
        if key is None or (key and read_key(path) == key):
            path.unlink(missing_ok=True)


def find_key(url: str, environment: Mapping[str, str]) -> str:
    """Return the key of a server on this machine, by its URL; "" if there is none."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return ""  # never send a key of this machine to another one
    default = 443 if parts.scheme == "https" else 80
    with suppress(RuntimeError, ValueError):  # no home folder, no port
        for host in _listening(parts.hostname or ""):
            if key := read_key(key_file(host, parts.port or default, environment)):
                return key
    return ""


def _listening(host: str) -> Iterator[str]:
    """Yield the addresses at which a server reachable as ``host`` may listen."""
    yield host
    if host.lower() == "localhost":
        yield OTHER_LOOPBACK
    yield "0.0.0.0"  # noqa: S104 - a name of a file


def read_key(path: Path) -> str:
    """Return the key in a file; "" if there is none, or others can write to the file."""
    with suppress(OSError, ValueError):
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, encoding="ascii") as file:
            found = os.fstat(file.fileno())
            mine = found.st_uid == os.geteuid() and not found.st_mode & OTHERS_MAY_WRITE
            key = file.read(80).strip() if mine and S_ISREG(found.st_mode) else ""
            return key if KEY.fullmatch(key) else ""
    return ""


def is_loopback(host: str) -> bool:
    """Return True if an address is a loopback address; False for all names but localhost."""
    if host.lower() == "localhost":
        return True
    try:
        address = ip_address(host)
    except ValueError:
        return False
    mapped = address.ipv4_mapped if isinstance(address, IPv6Address) else None
    return (mapped or address).is_loopback
