"""Which failed checks a cause and its flags waive."""

import pytest

from service.core.checks import Check
from service.engine.repository.rollout_options import Cause, RolloutOptions


def failed(name: str) -> Check:
    return Check(name, "", "", "", False)


@pytest.mark.parametrize("name", ["load", "warm-up"])
def test_a_version_that_does_not_load_is_never_waived(name: str) -> None:
    assert not RolloutOptions(Cause.SWAP, force=True).waives(failed(name))


def test_force_waives_the_gate() -> None:
    assert RolloutOptions(Cause.SWAP, force=True).waives(failed("golden"))
    assert not RolloutOptions(Cause.SWAP).waives(failed("golden"))


def test_a_change_of_the_signature_is_allowed_by_itself() -> None:
    options = RolloutOptions(Cause.SWAP, allow_signature_change=True)
    assert options.waives(failed("signature"))
    assert not options.waives(failed("golden"))
