"""A profile is unchanged by report.json; like 8-bit kernels are expected to have the same speed."""

import json
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.engine.cpu.kernels import Kernels
from service.engine.cpu.machine import BYTE_PRODUCTS, Feature, Machine
from service.engine.cpu.profile import Profile

PROFILES = st.builds(
    Profile,
    st.text(max_size=100),
    st.text(max_size=50),
    st.sets(st.sampled_from(BYTE_PRODUCTS)).map(
        lambda names: tuple(name for name in BYTE_PRODUCTS if name in names)
    ),
    st.booleans(),
    st.sampled_from(Kernels),
)
EPYC = Profile("AMD EPYC", "x86_64", ("avx2", "avx512_vnni"), False, Kernels.DEFAULT)


@given(PROFILES)
def test_a_profile_is_read_from_a_report_unchanged(profile: Profile) -> None:
    assert Profile.read(json.loads(json.dumps(profile.values()))) == profile


def test_the_byte_products_of_a_profile_are_sorted() -> None:
    features = (
        Feature("avx512_vnni", True, ""),
        Feature("avx2", True, ""),
        Feature("amx_int8", False, ""),
        Feature("FP16", True, ""),
    )
    machine = Machine("AMD EPYC", "x86_64", 8, None, 1, None, features, False)
    assert Profile.of(machine, Kernels.DEFAULT) == EPYC


@pytest.mark.parametrize(
    ("change", "same"),
    [
        ({"cpu": "another"}, True),
        ({"architecture": "aarch64"}, False),
        ({"byte_products": ("avx2",)}, False),
        ({"saturates": True}, False),
        ({"kernels": Kernels.EXACT}, False),
    ],
)
def test_the_same_speed_is_expected_on_like_kernels(change: dict[str, Any], same: bool) -> None:
    other = replace(EPYC, **change)
    assert EPYC.same_speed(other) is other.same_speed(EPYC) is same


@pytest.mark.parametrize(
    "change", [{"kernels": "fast"}, {"kernels": None}, {"byte_products": None}, {"cpu": ...}]
)
def test_invalid_profiles_are_refused(change: dict[str, Any]) -> None:
    values = EPYC.values() | change
    values = {key: value for key, value in values.items() if value is not ...}
    with pytest.raises((KeyError, TypeError, ValueError)):
        Profile.read(values)


def test_the_text_of_a_profile_names_its_widest_byte_products() -> None:
    assert str(EPYC) == "AMD EPYC (x86_64, avx512_vnni), default kernels"
    bare = replace(EPYC, byte_products=(), kernels=Kernels.EXACT)
    assert str(bare) == "AMD EPYC (x86_64, no byte products), exact kernels"
