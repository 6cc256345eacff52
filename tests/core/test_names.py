"""Display, validation and proposals of names."""

import json
import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.core.names import NAME, displayed, model_name_for, version_for


@given(st.binary(min_size=1, max_size=40))
def test_a_name_of_any_bytes_is_shown_as_printable_text(raw: bytes) -> None:
    shown = displayed(os.fsdecode(raw))
    assert shown.isprintable()
    assert json.loads(json.dumps(shown).encode()) == shown


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("modèle 1", "modèle 1"),
        (os.fsdecode(b"caf\xe9"), r"caf\xe9"),
        ("a\nb\x1b[2J", r"a\nb\x1b[2J"),
        ("a\u202eb", r"a\u202eb"),
    ],
)
def test_unprintable_characters_are_escaped(name: str, shown: str) -> None:
    assert displayed(name) == shown


@pytest.mark.parametrize(
    ("name", "better"),
    [
        ("my model", "my_model"),
        ("Mon modèle (2)", "Mon_modele_2"),
        ("-rf", "rf"),
        ("模型", ""),
        ("a" * 200, "a" * 128),
    ],
)
def test_a_valid_model_name_is_proposed(name: str, better: str) -> None:
    assert model_name_for(name) == better


@given(st.text(max_size=200))
def test_proposed_names_are_valid(name: str) -> None:
    found = model_name_for(name)
    assert found == "" or NAME.fullmatch(found)


@pytest.mark.parametrize(
    ("name", "number"),
    [
        ("v1", 1), ("V2", 2), ("version_3", 3), ("ver-4", 4), ("01", 1), ("007", 7), ("1.0", 1),
        ("v2.0.0", 2), ("²", 2), ("١", 1), ("v٣", 3), ("1.5", None), ("latest", None), ("0", None),
        ("-1", None), ("9" * 19, None), ("3.tmp", None), ("", None), ("²²", 22),
    ],
)  # fmt: skip
def test_a_version_number_is_recognised(name: str, number: int | None) -> None:
    assert version_for(name) == number
