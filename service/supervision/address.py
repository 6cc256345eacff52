"""The port that the workers share."""

import socket
from typing import NamedTuple


class Address(NamedTuple):
    """Where the workers listen; port 0 for any free one."""

    host: str
    port: int


def reserve(address: Address) -> socket.socket:
    """A socket that keeps the port for the workers, and takes no connection.

    Raises:
        OSError: somebody else has it.
    """
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    # Any socket of this user could share the port: a second server is not meant to.
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        probe.bind(address)
        address = Address(address.host, probe.getsockname()[1])
    reserved = socket.socket(family)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    reserved.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    reserved.bind(address)
    return reserved
