"""The admin key that a server makes where none is set, in a file that only its user can read.

The commands of the same user on the same machine find it there by the server's port. It lasts as
long as the server: each start makes a new one.
"""

import os
import secrets
from collections.abc import Mapping
from contextlib import suppress
from ipaddress import IPv6Address, ip_address
from pathlib import Path
from urllib.parse import urlsplit

FOLDER_MODE, FILE_MODE = 0o700, 0o600


def key_file(port: int, environment: Mapping[str, str]) -> Path:
    """Where the key of the server on a port is kept: in $XDG_STATE_HOME, else ~/.local/state."""
    state = environment.get("XDG_STATE_HOME") or "~/.local/state"
    return Path(state, "quantserve", f"{port}.key").expanduser()


def make_key(path: Path) -> str:
    """Write a new key to a file; gives the key.

    Raises:
        OSError: the file cannot be written.
        RuntimeError: the user has no home folder.
    """
    key = secrets.token_hex(32)
    path.parent.mkdir(FOLDER_MODE, parents=True, exist_ok=True)
    draft = path.with_suffix(f".{secrets.token_hex(8)}")
    # Readable by nobody else from its first moment, whatever the umask, and never half written.
    opened = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, FILE_MODE)
    with os.fdopen(opened, "w") as file:
        file.write(key + "\n")
    draft.replace(path)
    return key


def drop_key(path: Path) -> None:
    """Remove a server's file, if there is one."""
    with suppress(OSError, RuntimeError):
        path.unlink(missing_ok=True)


def find_key(url: str, environment: Mapping[str, str]) -> str:
    """The key of the server at an address of this machine; "" where there is none."""
    parts = urlsplit(url)
    if not is_loopback(parts.hostname or ""):
        return ""  # another machine's server: this machine's keys are not its business
    default = 443 if parts.scheme == "https" else 80
    with suppress(RuntimeError, ValueError):  # no home folder, no port
        return read_key(key_file(parts.port or default, environment))
    return ""


def read_key(path: Path) -> str:
    """The key in a file; "" where there is none."""
    with suppress(OSError, ValueError):
        return path.read_text("ascii").strip()
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
