"""How many connections a process may have open."""

import resource


def allow_connections() -> None:
    """As many open files, and so connections, as the system lets the process have."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
