"""The build backend: setuptools, for a tree in which the package is named ``quantserve``.

In the repository the package is the folder ``service``, which is too common a name to install: it
would clash with other distributions, and with a user's own ``service``. A wheel and an sdist are
therefore built from a staged tree, where the folder and the imports are named ``quantserve`` and
the examples are inside the package. That tree needs only setuptools, so that a wheel built from the
sdist equals a wheel built from the repository. An editable installation keeps ``service``.
"""

import ast
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from setuptools import build_meta
from setuptools.build_meta import (
    build_editable,
    get_requires_for_build_editable,
    get_requires_for_build_sdist,
    get_requires_for_build_wheel,
    prepare_metadata_for_build_editable,
)

__all__ = [
    "build_editable",
    "build_sdist",
    "build_wheel",
    "get_requires_for_build_editable",
    "get_requires_for_build_sdist",
    "get_requires_for_build_wheel",
    "prepare_metadata_for_build_editable",
]

Settings = dict[str, Any] | None

HERE = "service"
THERE = "quantserve"
COPIED = ("README.md", "LICENSE")
EXAMPLES = {
    "models/diabetes": "models/diabetes",
    "models/digits": "models/digits",
    "scripts/examples/fp32": "fp32",
}
"""Folders of the examples, in the repository and in the package. Other folders in ``models/``
belong to the user."""
NOT_SHIPPED = ("__pycache__", "*.pyc", ".*", "serving.toml", "quarantine.toml")
IMPORT = re.compile(rf"^(\s*(?:from|import)\s+){HERE}(?=[.\s])", re.MULTILINE)
BACKEND = re.compile(r"^build-backend = .*\nbackend-path = .*\n", re.MULTILINE)


def build_wheel(folder: str, settings: Settings = None, metadata: str | None = None) -> str:
    """Build the wheel into ``folder``. Returns its name."""
    target = Path(folder).resolve()
    with staged():
        name: str = build_meta.build_wheel(str(target), settings)
    return name


def build_sdist(folder: str, settings: Settings = None) -> str:
    """Build the sdist into ``folder``. Returns its name."""
    target = Path(folder).resolve()
    with staged():
        name: str = build_meta.build_sdist(str(target), settings)
    return name


@contextmanager
def staged() -> Iterator[None]:
    """Work in a tree that plain setuptools can build."""
    root = Path.cwd()
    with tempfile.TemporaryDirectory() as folder:
        stage(root, Path(folder))
        os.chdir(folder)
        try:
            yield
        finally:
            os.chdir(root)


def stage(root: Path, tree: Path) -> None:
    """Write the tree, which contains only the files to build from.

    Raises:
        ValueError: a module would still use the package's name in the repository.
    """
    ignore = shutil.ignore_patterns(*NOT_SHIPPED)
    shutil.copytree(root / HERE, tree / THERE, ignore=ignore)
    for module in (tree / THERE).rglob("*.py"):
        module.write_text(renamed(module.read_text("utf-8"), module), "utf-8")
    for old, new in EXAMPLES.items():
        shutil.copytree(root / old, tree / THERE / new, ignore=ignore)
    for name in COPIED:
        shutil.copy(root / name, tree / name)
    project = (root / "pyproject.toml").read_text("utf-8")
    (tree / "pyproject.toml").write_text(renamed_project(project), "utf-8")


def renamed(source: str, file: Path) -> str:
    """Return the source of a module with its imports renamed."""
    text = IMPORT.sub(rf"\g<1>{THERE}", source)
    for node in ast.walk(ast.parse(text, str(file))):
        if not isinstance(node, ast.stmt | ast.expr):  # only these have a line
            continue
        if any(name.partition(".")[0] == HERE for name in imported(node)):
            raise ValueError(f"{file}: line {node.lineno} still imports {HERE}")
        if names_a_module(node):
            raise ValueError(
                f"{file}: line {node.lineno} names a module of {HERE} in a string: use __package__"
            )
    return text


def imported(node: ast.AST) -> list[str]:
    """Return the modules that a statement imports by their full name."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom) and not node.level:
        return [node.module or ""]
    return []


def names_a_module(node: ast.AST) -> bool:
    """Return True if a node is a string, or the beginning of one, that names a module, such as
    "service.api.offload.worker"."""
    if not (isinstance(node, ast.Constant) and isinstance(node.value, str)):
        return False
    parts = node.value.rstrip(".").split(".")
    if len(parts) < 2 or parts[0] != HERE or not all(part.isidentifier() for part in parts):
        return False
    path = Path(*parts)
    return path.is_dir() or path.with_suffix(".py").is_file()


def renamed_project(text: str) -> str:
    """Return pyproject.toml changed for plain setuptools."""
    text, found = BACKEND.subn('build-backend = "setuptools.build_meta"\n', text)
    if not found:
        raise ValueError("pyproject.toml: expected build-backend, then backend-path")
    for old, new in (
        (f'"{HERE}.cli:main"', f'"{THERE}.cli:main"'),
        (f'"{HERE}.__version__"', f'"{THERE}.__version__"'),
        (f'include = ["{HERE}*"]', f'include = ["{THERE}*"]'),
        (f"{HERE} = [", f"{THERE} = ["),
    ):
        if text.count(old) != 1:
            raise ValueError(f"pyproject.toml: expected {old} once")
        text = text.replace(old, new)
    return text
