"""A profile survives report.json; two machines are alike if their 8-bit kernels run alike."""

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
def test_a_profile_survives_a_report(profile: Profile) -> None:
    assert Profile.read(json.loads(json.dumps(profile.values()))) == profile


def test_the_profile_of_a_machine_has_its_byte_products_in_order() -> None:
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
def test_speed_is_expected_to_be_the_same_on_like_kernels(
    change: dict[str, Any], same: bool
) -> None:
    other = replace(EPYC, **change)
    assert EPYC.same_speed(other) is other.same_speed(EPYC) is same


@pytest.mark.parametrize(
    "change", [{"kernels": "fast"}, {"kernels": None}, {"byte_products": None}, {"cpu": ...}]
)
def test_values_that_are_no_profile_are_refused(change: dict[str, Any]) -> None:
    values = EPYC.values() | change
    values = {key: value for key, value in values.items() if value is not ...}
    with pytest.raises((KeyError, TypeError, ValueError)):
        Profile.read(values)


def test_a_profile_is_shown_with_its_widest_byte_products() -> None:
    assert str(EPYC) == "AMD EPYC (x86_64, avx512_vnni), default kernels"
    bare = replace(EPYC, byte_products=(), kernels=Kernels.EXACT)
    assert str(bare) == "AMD EPYC (x86_64, no byte products), exact kernels"
