"""The error for a missing package names the extra that installs it."""

import tomllib
from importlib.util import find_spec
from pathlib import Path

import pytest

from service.quantization.evaluate.worker import Worker, WorkFailed
from service.quantization.extras import EXTRAS, what_to_install
from tests.patience import PATIENCE

ROOT = Path(__file__).parents[2]
HIDDEN = """
import sys
class Hidden:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "torch":
            raise ModuleNotFoundError("No module named 'torch'", name=name)
sys.meta_path.insert(0, Hidden())
def use():
    import torch.nn
"""


def test_each_extra_is_declared_by_the_package() -> None:
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert set(EXTRAS.values()) <= declared["optional-dependencies"].keys()


def test_modules_without_an_extra_have_no_advice() -> None:
    assert what_to_install(ModuleNotFoundError("no", name="users_own")) == ""
    assert "'quantserve[quantize]'" in what_to_install(
        ModuleNotFoundError("no", name="onnx.helper")
    )


def test_a_recipe_names_its_missing_package(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "hidden_torch.py").write_text(HIDDEN)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    assert find_spec("hidden_torch")
    from hidden_torch import use  # type: ignore[import-not-found]

    advice = r"^needs torch: pip install 'quantserve\[hqq\]'$"
    with Worker() as worker, pytest.raises(WorkFailed, match=advice):
        worker.call(PATIENCE, use)
