"""Arm cores are named from the numbers of /proc/cpuinfo; unknown cores keep their numbers."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.cpu.arm_cores import MAKERS, PARTS, core_names

GENERAL = "ARMv8 Processor rev 0 (v8l)"


def core(maker: str | None, part: str | None, model: str | None = None) -> dict[str, str]:
    fields = {"CPU implementer": maker, "CPU part": part, "model name": model}
    return {key: value for key, value in fields.items() if value is not None}


@pytest.mark.parametrize(
    ("fields", "name"),
    [
        (core("0x41", "0xd4f"), "Arm Neoverse V2"),
        (core("0x61", "0x023"), "Apple M1 Firestorm"),
        (core("0x41", "0xd4f", GENERAL), "Arm Neoverse V2"),
        (core("0x41", "0x123"), "Arm part 0x123"),
        (core("0x49", "0x001"), "implementer 0x49 part 0x001"),
        (core("0x49", "0x001", GENERAL), GENERAL),
        (core(None, "0xd4f"), "part 0xd4f"),
        (core("0x41", None, "Intel Xeon"), ""),
        (core("0x41", "unknown"), ""),
        ({}, ""),
    ],
)
def test_a_core_is_named(fields: dict[str, str], name: str) -> None:
    assert core_names([fields]) == name


def test_each_kind_of_core_is_named_once_in_the_order_of_the_machine() -> None:
    little, big = core("0x41", "0xd05"), core("0x41", "0xd41")
    assert core_names([little, little, {}, big, little]) == "Arm Cortex-A55, Arm Cortex-A78"


def test_every_part_has_a_maker_and_names_are_unique() -> None:
    assert PARTS.keys() <= MAKERS.keys()
    for parts in PARTS.values():
        assert len(set(parts.values())) == len(parts)


@given(st.lists(st.dictionaries(st.sampled_from(["CPU implementer", "CPU part"]), st.text())))
def test_any_cpuinfo_text_is_accepted(processors: list[dict[str, str]]) -> None:
    assert isinstance(core_names(processors), str)
