"""One virtual environment for each peer, reused while its packages are the same."""

import subprocess
import sys
from pathlib import Path

from tests.benchmarks.servers import ServerError


def installed(name: str, packages: tuple[str, ...], folder: Path) -> Path:
    """Return the environment's ``bin`` folder; create the environment if necessary.

    Raises:
        ServerError: the packages cannot be installed.
    """
    if not packages:
        return Path(sys.executable).parent
    place = folder / packages[0]
    done = place / "installed"
    wanted = "\n".join(packages)
    if not done.exists() or done.read_text() != wanted:
        _run(name, [sys.executable, "-m", "venv", "--clear", str(place)])
        _run(name, [str(place / "bin/pip"), "install", "--quiet", *packages])
        done.write_text(wanted)
    return place / "bin"


def _run(name: str, command: list[str]) -> None:
    ended = subprocess.run(command, capture_output=True, text=True, check=False)
    if ended.returncode:
        raise ServerError(f"{name} cannot be installed: {ended.stderr.strip()[-500:]}")
