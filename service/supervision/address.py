"""The port that the workers share."""

import socket
from typing import NamedTuple


class Address(NamedTuple):
    """The address of the workers; port 0 means any free port."""

    host: str
    port: int


def reserve(address: Address) -> socket.socket:
    """Return a socket that reserves the port for the workers and accepts no connections.

    Raises:
        OSError: the port is in use.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Any socket of this user could share the port. This probe refuses a second server.
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        address = Address(address.host, probe.getsockname()[1])
    reserved = socket.socket(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(address)
    return reserved
