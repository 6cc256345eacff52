from pathlib import Path

import numpy as np
import pytest

from service.core.errors import ConfigError
from service.quantization.language.texts import cut, read_text


def test_calibration_and_evaluation_texts_do_not_overlap() -> None:
    found = cut(list(range(10_000)), 8192)
    assert found.calibration.shape == (4, 64) and found.evaluation.shape == (16, 64)
    assert not np.intersect1d(found.calibration, found.evaluation).size
    assert cut(list(range(10_000)), 32).evaluation.shape == (16, 32)


def test_a_text_that_is_too_short_is_refused() -> None:
    with pytest.raises(ConfigError, match="has 1279 tokens; 1280 are needed: 20 pieces of 64"):
        cut(list(range(1279)), 8192)


def test_a_text_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="No such file"):
        read_text(tmp_path / "none")
    (tmp_path / "latin").write_bytes(b"caf\xe9")
    with pytest.raises(ConfigError, match="is not UTF-8"):
        read_text(tmp_path / "latin")
    (tmp_path / "text").write_text("abc")
    assert read_text(tmp_path / "text") == "abc"
    assert len(read_text(None)) > 100_000
