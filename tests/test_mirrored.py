"""Each module of the core, the engine and the API has a unit test at the same place."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
VALUES = {"core/requests.py", "core/sizes.py"}
"""Named tuples and numbers without a line of code."""
MODULES = sorted(
    str(path.relative_to(ROOT / "service"))
    for package in ("core", "engine", "api")
    for path in (ROOT / "service" / package).rglob("*.py")
    if path.name != "__init__.py"
)


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_unit_test(module: str) -> None:
    path = Path(module)
    assert module in VALUES or (ROOT / "tests" / path.parent / f"test_{path.name}").exists()
