"""The scripts that build models measure them with the kernels of serving, on any processor."""

import importlib.util
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

from service.engine.cpu import kernels

ROOT = Path(__file__).parents[2]
MODEL = ROOT / "models/digits/2/model.onnx"


@pytest.fixture(scope="module")
def measure() -> ModuleType:
    spec = importlib.util.spec_from_file_location("measure", ROOT / "scripts/models/measure.py")
    assert spec is not None and spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("saturates", [True, False], ids=["without VNNI", "with VNNI"])
def test_a_model_is_measured_with_the_kernels_of_serving(
    saturates: bool, measure: ModuleType, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(kernels, "saturates", lambda: saturates)
    images = np.load(MODEL.parents[1] / "golden.npz")["inputs/image"][:4]
    assert measure.answer(MODEL, {"image": images}).shape == (4, 10)
