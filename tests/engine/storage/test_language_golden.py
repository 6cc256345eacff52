from pathlib import Path
from typing import Any

import numpy as np
import pytest

from service.core.errors import LoadFailed
from service.engine.storage.language_golden import read_language_golden


def arrays(**changes: Any) -> dict[str, Any]:
    given = {
        "tokens": np.ones((3, 5), np.int32),
        "logprobs": np.zeros((3, 4), np.float32),
        "top1": np.ones((3, 4), np.int64),
    }
    return {name: each for name, each in (given | changes).items() if each is not None}


def test_a_golden_set_is_read(tmp_path: Path) -> None:
    np.savez(tmp_path / "golden.npz", **arrays())
    found = read_language_golden(tmp_path / "golden.npz", 10, 5)
    assert found.tokens.shape == (3, 5) and found.forced.top1.shape == (3, 4)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        ({"top1": None}, '"top1" is not one'),
        ({"tokens": np.ones(5)}, '"tokens" is not one'),
        ({"tokens": np.ones((0, 5), int)}, "0 texts of 5 tokens"),
        ({"tokens": np.ones((3, 6), int)}, "3 texts of 6 tokens, expected at least one of 2 to 5"),
        ({"top1": np.ones((3, 5), int)}, r'"top1" is \[3, 5\], expected \[3, 4\]'),
        ({"tokens": np.full((3, 5), 10)}, "has tokens outside the model.s vocabulary of 10"),
        ({"tokens": np.full((3, 5), -1)}, "has tokens outside the model.s vocabulary of 10"),
    ],
)
def test_invalid_golden_sets_are_refused_with_the_reason(
    tmp_path: Path, changes: dict[str, Any], why: str
) -> None:
    np.savez(tmp_path / "golden.npz", **arrays(**changes))
    with pytest.raises(LoadFailed, match=why):
        read_language_golden(tmp_path / "golden.npz", 10, 5)


def test_missing_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(LoadFailed, match="golden.npz is gone"):
        read_language_golden(tmp_path / "golden.npz", 10, 5)
    (tmp_path / "golden.npz").write_bytes(b"no archive")
    with pytest.raises(LoadFailed):
        read_language_golden(tmp_path / "golden.npz", 10, 5)
