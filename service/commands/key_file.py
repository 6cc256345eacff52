"""The admin key that a server makes where none is set, in a file that only its user can read.

The commands of the same user on the same machine find it there by the server's port. It lasts as
long as the server: each start makes a new one.
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
"""What "localhost" may also mean."""


def key_file(host: str, port: int, environment: Mapping[str, str]) -> Path:
    """Where the key of the server at an address is kept: in $XDG_STATE_HOME, else ~/.local/state.

    By its port; by its address too where that is a loopback address other than 127.0.0.1, since
    servers of the same port may listen there.
    """
    state = environment.get("XDG_STATE_HOME") or "~/.local/state"
    name = f"{port}.key"
    if is_loopback(host) and host.lower() not in ("127.0.0.1", "localhost"):
        name = f"{host.lower()}_{name}"
    return Path(state, "quantserve", name).expanduser()


def make_key(path: Path, key: str = "") -> str:
    """Write a key to a file, a new one where none is given; gives the key.

    Raises:
        OSError: the file cannot be written, or its folder is another user's.
        RuntimeError: the user has no home folder.
    """
    key = key or secrets.token_hex(32)
    _own_folder(path.parent)
    draft = path.with_suffix(f".{secrets.token_hex(8)}")
    # Readable by nobody else from its first moment, whatever the umask, and never half written.
    opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    try:
        with os.fdopen(opened, "w") as file:
            file.write(key + "\n")
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return key


def _own_folder(folder: Path) -> None:
    """Make a folder that only this user can change.

    Raises:
        PermissionError: it is another user's, who could put a key of their own into it.
    """
    folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    found = folder.stat()
    if found.st_uid != os.geteuid():
        why = f"the folder belongs to uid {found.st_uid}, this process runs as {os.geteuid()}"
        raise PermissionError(errno.EPERM, why)
    if found.st_mode & OTHERS_MAY_WRITE:
        folder.chmod(FOLDER_MODE)


def drop_key(path: Path, key: str | None = None) -> None:
    """Remove a server's file, if there is one, and only while it holds the ``key`` if one is given:
    another server may have taken the place."""
    with suppress(OSError, RuntimeError):
        if key is None or (key and read_key(path) == key):
            path.unlink(missing_ok=True)


def find_key(url: str, environment: Mapping[str, str]) -> str:
    """The key of the server at an address of this machine; "" where there is none."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return ""  # the keys in these files are for servers of this machine
    default = 443 if parts.scheme == "https" else 80
    with suppress(RuntimeError, ValueError):  # no home folder, no port
        for host in _listening(parts.hostname or ""):
            if key := read_key(key_file(host, parts.port or default, environment)):
                return key
    return ""


def _listening(host: str) -> Iterator[str]:
    """The addresses at which a server that answers for a host may listen."""
    yield host
    if host.lower() == "localhost":
        yield OTHER_LOOPBACK
    yield "0.0.0.0"  # noqa: S104 - a name of a file


def read_key(path: Path) -> str:
    """The key in a file that only this user can have written; "" where there is none."""
    with suppress(OSError, ValueError):
        opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(opened, encoding="ascii") as file:
            found = os.fstat(file.fileno())
            mine = found.st_uid == os.geteuid() and not found.st_mode & OTHERS_MAY_WRITE
            key = file.read(80).strip() if mine and S_ISREG(found.st_mode) else ""
            return key if KEY.fullmatch(key) else ""
    return ""


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
