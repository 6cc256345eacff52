"""The winner is confirmed on test rows, which did not choose it; if it fails, the next one wins."""

from pathlib import Path

import pytest

from service.quantization.evaluate.quality import Quality
from service.quantization.recipes.build import WorkDir
from service.quantization.search.confirmation import Finals
from service.quantization.search.decide import Goal, Target
from service.quantization.search.journal import Journal
from tests.quantization.candidates import FP32, candidate

SCORES = {"lucky": 0.5, "honest": 0.9}


@pytest.fixture
def finals(tmp_path: Path) -> Finals:
    """With the scores on the test rows already known."""
    journal = Journal(tmp_path / "journal.jsonl")
    for name, score in SCORES.items():
        found = Quality("accuracy", score, 0.9, ())
        key = f"confirmation {candidate(name).recipe!r}"
        journal.remember(key, Quality, lambda found=found: found)
    goal = Goal(Target.SIZE, 0.01)
    work_dir = WorkDir(tmp_path)
    return Finals(journal, work_dir, None, goal, FP32, lambda _: tmp_path, lambda _: None)  # type: ignore[arg-type]


def test_the_next_best_wins_if_the_best_is_refuted(finals: Finals) -> None:
    rows = [candidate("lucky", size=500), candidate("honest", size=1000)]
    found, quality = finals.confirm(rows, 100)
    assert "accuracy drops by 40.00%" in found[0].refuted
    assert (found[1].refuted, quality and quality.score) == ("", 0.9)


def test_all_candidates_may_be_refuted(finals: Finals) -> None:
    found, quality = finals.confirm([candidate("lucky", size=500)], 100)
    assert found[0].refuted
    assert quality is None


def test_without_test_rows_nothing_is_refuted(finals: Finals) -> None:
    rows = [candidate("lucky", size=500)]
    assert finals.confirm(rows, 0) == (rows, None)


def test_sizes_are_not_timed_again(finals: Finals) -> None:
    rows = [candidate("lucky", size=500)]
    assert finals.play_off(rows) == rows
