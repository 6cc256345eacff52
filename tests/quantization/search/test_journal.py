"""Results that were stored are not computed again."""

from pathlib import Path

from service.quantization.recipes.catalogue import Recipe, Static, WeightOnly
from service.quantization.search.decide import Candidate
from service.quantization.search.journal import Journal


def test_a_candidate_is_restored_equal(tmp_path: Path) -> None:
    made = Candidate(Recipe("r", WeightOnly(8), float_nodes=("a", "b")), failure="no kernel")
    Journal(tmp_path / "j").remember("k", Candidate, lambda: made)

    def again() -> Candidate:
        raise AssertionError("found out twice")

    assert Journal(tmp_path / "j").remember("k", Candidate, again) == made


def test_methods_keep_their_type(tmp_path: Path) -> None:
    made = Candidate(Recipe("r", Static()))
    Journal(tmp_path / "j").remember("k", Candidate, lambda: made)
    found = Journal(tmp_path / "j").remember("k", Candidate, lambda: made)
    assert isinstance(found.recipe.method, Static)


def test_an_incomplete_line_is_ignored(tmp_path: Path) -> None:
    path = tmp_path / "j"
    path.write_text('["a", 1]\n["b", ')
    journal = Journal(path)
    assert "a" in journal
    assert "b" not in journal
