"""Valid names and paths in the model repository. No path leads out of it, not even through symbolic
links.

A link whose target is inside is valid (Kubernetes mounts a ConfigMap as links to ``..data``), and
the root may be a link.
"""

from pathlib import Path, PurePosixPath

from service.core.errors import InvalidName
from service.core.names import ALLOWED, NAME, VERSION

MAX_DEPTH = 8


def check_model_name(name: str) -> str:
    """Return the name, if it is valid for a model.

    Raises:
        InvalidName: it is not valid.
    """
    if not NAME.fullmatch(name):
        raise InvalidName(f"{name!r:.200} cannot be the name of a model: expected {ALLOWED}")
    return name


def check_version(number: int) -> int:
    """Return the number, if it is valid for a version.

    Raises:
        InvalidName: it is not valid.
    """
    if not VERSION.fullmatch(str(number)):
        raise InvalidName(f"a version is an integer of 1 to 18 digits, got {str(number):.40}")
    return number


def version_file(path: str) -> tuple[int, PurePosixPath]:
    """Split ``"1/model.onnx"`` into the version's number and the path inside its folder.

    Raises:
        InvalidName: the path is not ``<version>/<path>``, or a part of it is not a valid name.
    """
    first, *rest = path.split("/")
    if not VERSION.fullmatch(first) or not rest:
        raise InvalidName(f"the file {path!r:.200} is not in a version: expected 1/model.onnx")
    return int(first), file_path("/".join(rest))


def file_path(path: str) -> PurePosixPath:
    """Return the path of a file inside a version's folder, such as ``"data/weights.bin"``.

    Raises:
        InvalidName: a part of it is not a valid name, or there are too many parts.
    """
    parts = path.split("/")
    if len(parts) > MAX_DEPTH:
        raise InvalidName(f"the file {path!r:.200} is more than {MAX_DEPTH} folders deep")
    for part in parts:
        if not NAME.fullmatch(part):
            raise InvalidName(f"{part!r:.200} in {path!r:.200}: expected {ALLOWED}")
    return PurePosixPath(*parts)


def leads_outside(root: Path, path: Path) -> bool:
    """Return whether a path, with all links followed, is neither ``root`` nor under it.

    Also True for paths that cannot exist: a loop of links, a name with a zero byte.
    """
    try:
        return not path.resolve().is_relative_to(root.resolve())
    except (OSError, RuntimeError, ValueError):
        return True
