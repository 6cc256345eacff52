"""A small model and rows for it."""

from pathlib import Path

import numpy as np
import pytest

from tests.quantization.tiny_models import conv_net


@pytest.fixture
def model(tmp_path: Path) -> Path:
    """A small convolutional network in FP32."""
    return conv_net(tmp_path / "tiny.onnx")


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """64 rows for the model, in three classes."""
    rng = np.random.default_rng(1)
    path = tmp_path / "data.npz"
    images = rng.random((64, 1, 8, 8), np.float32)
    np.savez(path, x=images, labels=np.arange(64) % 3)
    return path
