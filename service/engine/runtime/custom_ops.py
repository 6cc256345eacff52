"""Shared libraries of custom operators. They are code: the server's operator must put them beside
model.toml and allow them.

No library is loaded from the folders of versions, where uploads are written, or through a link that
leads there or out of the repository.
"""

import re
from pathlib import Path

from service.core.errors import LoadFailed
from service.core.names import NAME, VERSION
from service.engine.host.paths import leads_outside

UNREGISTERED = re.compile(r"(\S+?):(\S+)\(-?\d+\) is not a registered function/op")
"""ONNX Runtime's error for an operator of an unknown domain."""
OWN_DOMAINS = re.compile(r"(ai\.onnx(\.ml|\.training|\.preview\S*)?|com\.(microsoft|ms)(\..*)?)")
"""Domains of operators that only another version of ONNX Runtime could have."""
EXTENSIONS = frozenset({"ai.onnx.contrib", "com.microsoft.extensions"})
"""Domains of the package onnxruntime-extensions, which is installed separately: tokenizers etc."""
ALLOW = "--allow-custom-ops"


def library(model: Path, root: Path, name: str, allowed: bool) -> Path:
    """Return the path of the library that a model.toml names. ``model`` is the model's folder,
    ``root`` the repository.

    Raises:
        LoadFailed: the library is not allowed, is not a file beside model.toml, or is a link out of
            the repository or into a version's folder.
    """
    said = f"model.toml: session.custom_ops = {name!r:.200}"
    if not allowed:
        raise LoadFailed(
            f"{said} is code, which this server does not load: start it with {ALLOW} "
            "(QUANTSERVE_ALLOW_CUSTOM_OPS=true)"
        )
    path = model / name
    if not NAME.fullmatch(name):
        raise LoadFailed(f"{said}: expected the name of a file beside model.toml")
    if not path.is_file():
        raise LoadFailed(f"{said}: there is no such file beside model.toml")
    if leads_outside(root, path):
        raise LoadFailed(f"{said} leads outside the model repository")
    places = path.resolve().relative_to(root.resolve()).parts[:-1]
    if any(VERSION.fullmatch(part) for part in places):
        raise LoadFailed(f"{said} leads into a version's folder, where uploads are written")
    return path


def missing_operator(message: str, given: Path | None) -> str:
    """Return advice for ONNX Runtime's message about an unknown operator; "" for other messages."""
    found = UNREGISTERED.search(message)
    if found is None:
        return ""
    domain, operator = found.groups()
    what = f'operator "{operator}" of the domain "{domain}" is unknown'
    library = "the library that has it"
    if domain in EXTENSIONS:
        library += " (pip install onnxruntime-extensions; get_library_path() returns its path)"
    elif OWN_DOMAINS.fullmatch(domain):
        return f"{what} to this version of ONNX Runtime"
    if given is not None:
        return f"{what} to ONNX Runtime and to {given.name}, which session.custom_ops names"
    return (
        f"{what} to ONNX Runtime: put {library} beside model.toml, name it there "
        f'([session] custom_ops = "lib.so"), and start the server with {ALLOW}'
    )
