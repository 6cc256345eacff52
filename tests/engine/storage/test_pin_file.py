"""serving.toml is read as the pin that was written, and its old content can be restored."""

import tempfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from service.config.model import load_pin
from service.core.versions import Pin
from service.engine.storage.pin_file import (
    PIN_FILE,
    check_pin,
    read_pin_file,
    restore_pin_file,
    write_pin,
)

NUMBERS = st.integers(1, 10**18 - 1)
NAMES = st.text(st.characters(codec="utf-8", exclude_categories=["Cs", "Cc"]), min_size=1)
PINS = st.builds(
    Pin, NUMBERS, st.none() | NUMBERS, st.booleans(), st.booleans(),
    st.lists(NAMES, max_size=3, unique=True).map(tuple),
)  # fmt: skip


@given(PINS)
def test_a_written_pin_is_read_unchanged(pin: Pin) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        assert check_pin(folder, pin) == "" and write_pin(folder, pin) == ""
        found = load_pin(folder / PIN_FILE)
        assert found is not None
        assert (found.version, found.previous) == (pin.version, pin.previous)
        assert (found.forced, found.signature_change) == (pin.forced, pin.signature_change)
        assert tuple(found.v1_outputs) == pin.v1_outputs
        assert write_pin(folder, None) == "" and read_pin_file(folder) is None


def test_the_previous_content_is_restored_even_if_invalid(tmp_path: Path) -> None:
    (tmp_path / PIN_FILE).write_bytes(b"no toml [")
    before = read_pin_file(tmp_path)
    write_pin(tmp_path, Pin(2))
    restore_pin_file(tmp_path, before)
    assert (tmp_path / PIN_FILE).read_bytes() == b"no toml ["
    restore_pin_file(tmp_path, None)
    assert not (tmp_path / PIN_FILE).exists()


def test_the_error_for_a_missing_folder_names_the_file(tmp_path: Path) -> None:
    assert PIN_FILE in write_pin(tmp_path / "gone", Pin(1))
