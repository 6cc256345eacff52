"""Changes need an admin key."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.auth.policy import Access, Headers, Keys, Need
from service.core.errors import Forbidden, QuantserveError, Unauthenticated

ADMIN = Need.ADMIN_KEY
METADATA = Need.API_KEY
LOCAL: Headers = {b"host": [b"127.0.0.1:8000"]}

CLOSED = Access(Keys(), Keys())
KEYED = Access(Keys.of(["old-admin", "new-admin"]), Keys.of(["predict"]))


def bearer(key: str) -> Headers:
    return {b"authorization": [b"Bearer " + key.encode()]}


@pytest.mark.parametrize("key", ["old-admin", "new-admin"])
def test_each_of_several_admin_keys_is_accepted(key: str) -> None:
    """So that a new key can be distributed before the old one is removed."""
    assert KEYED.admit(ADMIN, bearer(key)).startswith("key ")
    assert KEYED.admit(ADMIN, {b"x-api-key": [key.encode()]}) == KEYED.admit(ADMIN, bearer(key))
    assert KEYED.admit(ADMIN, {b"authorization": [b"bearer  " + key.encode()]})
    assert KEYED.admit(METADATA, bearer(key))


def test_a_key_is_identified_by_the_start_of_its_hash() -> None:
    # The first digits of `printf new-admin | sha256sum`.
    assert KEYED.admit(ADMIN, bearer("new-admin")) == "key dc58c18f"


@pytest.mark.parametrize(
    "headers",
    [
        {}, LOCAL, bearer(""), bearer("old-admi"), bearer("old-admin,new-admin"),
        bearer("OLD-ADMIN"),
        {b"authorization": [b"Basic old-admin"]}, {b"authorization": [b"old-admin"]},
        {b"x-api-key": [b""]}, {b"x-api-key": [b"\xff\x00"]}, {b"cookie": [b"key=old-admin"]},
    ],
)  # fmt: skip
@pytest.mark.parametrize("need", [ADMIN, METADATA])
def test_a_missing_or_wrong_key_is_unauthenticated(headers: Headers, need: Need) -> None:
    with pytest.raises(Unauthenticated):
        KEYED.admit(need, headers)


def test_a_prediction_key_does_not_allow_changes() -> None:
    assert KEYED.admit(METADATA, bearer("predict")).startswith("key ")
    with pytest.raises(Forbidden, match="admin key"):
        KEYED.admit(ADMIN, bearer("predict"))


def test_changes_are_forbidden_if_no_admin_key_is_configured() -> None:
    for headers in ({}, LOCAL, bearer("anything"), bearer("predict")):
        with pytest.raises(Forbidden, match="QUANTSERVE_ADMIN_KEY"):
            CLOSED.admit(ADMIN, headers)


def test_predictions_need_no_key_if_none_is_configured() -> None:
    for access in (CLOSED, Access(Keys.of(["a"]), Keys())):
        assert access.admit(METADATA, {}) == ""


@given(st.lists(st.binary(max_size=12), max_size=3), st.lists(st.binary(max_size=12), max_size=3))
def test_unknown_keys_are_refused_and_errors_contain_no_key(
    keys: list[bytes], schemes: list[bytes]
) -> None:
    headers = {b"x-api-key": keys, b"authorization": [b"Bearer " + each for each in schemes]}
    for access in (KEYED, CLOSED):
        with pytest.raises(QuantserveError) as caught:
            access.admit(ADMIN, headers)
        assert not any(known in str(caught.value) for known in ("old-admin", "new-admin"))
