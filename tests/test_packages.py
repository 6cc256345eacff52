"""The docstring of each package lists the modules of its folder."""

import ast
import re
from pathlib import Path

import pytest

SERVICE = Path(__file__).parents[1] / "service"
PACKAGES = sorted(file.parent for file in SERVICE.rglob("__init__.py"))


@pytest.mark.parametrize("package", PACKAGES, ids=lambda path: str(path.relative_to(SERVICE)))
def test_the_docstring_lists_the_modules(package: Path) -> None:
    text = ast.get_docstring(ast.parse((package / "__init__.py").read_text()), clean=False) or ""
    listed = re.findall(r"^(?:    )?(\w+)  +\S", text, re.M)
    modules = {file.stem for file in package.glob("*.py")} - {"__init__", "__main__"}
    packages = {folder.parent.name for folder in package.glob("*/__init__.py")}
    assert set(listed) == modules | packages
    assert len(listed) == len(set(listed))
