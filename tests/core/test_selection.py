"""A selection has the named models, or all others."""

from service.core.selection import ALL, Selection


def test_a_selection_has_its_names_or_all_others() -> None:
    assert "a" in Selection(frozenset("ab")) and "c" not in Selection(frozenset("ab"))
    assert "a" not in Selection(frozenset("ab"), inverted=True)
    assert "c" in Selection(frozenset("ab"), inverted=True)
    assert "anything" in ALL
