"""Changes are for those who show an admin key, or sit at this machine where there is none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.keys import Access, Headers, Keys, Need, is_loopback, need_of
from service.core.errors import Forbidden, QuantserveError, Unauthenticated

ADMIN = Need.ADMIN_KEY
METADATA = Need.API_KEY
LOCAL: Headers = {b"host": [b"127.0.0.1:8000"]}

NO_KEYS = Access(Keys(), Keys(), loopback=True)
REACHABLE = Access(Keys(), Keys(), loopback=False)
KEYED = Access(Keys.of(["old-admin", "new-admin"]), Keys.of(["predict"]), loopback=False)


def bearer(key: str) -> Headers:
    return {b"authorization": [b"Bearer " + key.encode()]}


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("127.0.0.1", True), ("127.0.0.2", True), ("::1", True), ("localhost", True),
        ("LocalHost", True), ("::ffff:127.0.0.1", True), ("0.0.0.0", False), ("::", False),
        ("", False), ("192.168.0.7", False), ("::ffff:10.0.0.1", False), ("fe80::1", False),
        ("example.org", False), ("localhost.example.org", False), ("127.0.0.1.example.org", False),
        ("127.1", False), ("0", False), ("0x7f.1", False), ("myhost", False),
    ],
)  # fmt: skip
def test_loopback_is_told_from_the_address_alone(host: str, expected: bool) -> None:
    assert is_loopback(host) is expected


@pytest.mark.parametrize(
    ("path", "need"),
    [
        ("/admin", Need.ADMIN_KEY), ("/admin/", Need.ADMIN_KEY),
        ("/admin/models/digits/versions", Need.ADMIN_KEY),
        ("/v2/repository/models/digits/load", Need.ADMIN_KEY),
        ("/v2/repository/models/digits/unload", Need.ADMIN_KEY),
        ("/v2/repository/other/models/digits/load", Need.ADMIN_KEY),
        ("/v2/repository/models/index/load", Need.ADMIN_KEY),
        ("/v2/repository/index", Need.API_KEY), ("/v2/repository/other/index", Need.API_KEY),
        ("/v2/models/digits", Need.API_KEY), ("/v2/models/digits/infer", Need.API_KEY),
        ("/", Need.API_KEY),
        ("/v2/health/live/x", Need.API_KEY), ("/administrator", Need.API_KEY),
        ("/v2/health/live", Need.NOTHING), ("/v2/health/ready", Need.NOTHING),
        ("/metrics", Need.NOTHING), ("/openapi.json", Need.API_KEY), ("/docs", Need.NOTHING),
        ("/v2/logging", Need.ADMIN_KEY), ("/v2/trace/setting", Need.ADMIN_KEY),
        ("/v2/models/digits/trace/setting", Need.ADMIN_KEY),
    ],
)  # fmt: skip
def test_what_a_path_needs(path: str, need: Need) -> None:
    assert need_of("POST", path) is need


def test_settings_may_be_read_without_an_admin_key() -> None:
    assert need_of("GET", "/v2/logging") is Need.API_KEY
    assert need_of("GET", "/admin/models/digits/versions") is Need.ADMIN_KEY


@pytest.mark.parametrize("key", ["old-admin", "new-admin"])
def test_any_of_several_admin_keys_is_taken(key: str) -> None:
    """So that a new one can be handed out before the old one is taken away."""
    assert KEYED.admit(ADMIN, bearer(key)).startswith("key ")
    assert KEYED.admit(ADMIN, {b"x-api-key": [key.encode()]}) == KEYED.admit(ADMIN, bearer(key))
    assert KEYED.admit(ADMIN, {b"authorization": [b"bearer  " + key.encode()]})
    assert KEYED.admit(METADATA, bearer(key))


def test_a_key_is_told_by_the_start_of_its_hash() -> None:
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
def test_no_key_or_a_wrong_one_is_unauthenticated(headers: Headers, need: Need) -> None:
    with pytest.raises(Unauthenticated):
        KEYED.admit(need, headers)


def test_a_prediction_key_predicts_and_changes_nothing() -> None:
    assert KEYED.admit(METADATA, bearer("predict")).startswith("key ")
    with pytest.raises(Forbidden, match="admin key"):
        KEYED.admit(ADMIN, bearer("predict"))


@pytest.mark.parametrize(
    ("access", "why"),
    [
        (REACHABLE, "more than loopback"),
        (Access(Keys(), Keys.of(["predict"]), loopback=True), "prediction key"),
    ],
)
def test_without_an_admin_key_a_server_for_others_is_closed(access: Access, why: str) -> None:
    for headers in (LOCAL, bearer("anything"), bearer("predict")):
        with pytest.raises(Forbidden, match=why):
            access.admit(ADMIN, headers)


def test_without_a_prediction_key_predictions_are_open() -> None:
    for access in (NO_KEYS, REACHABLE, Access(Keys.of(["a"]), Keys(), loopback=False)):
        assert access.admit(METADATA, {}) == ""


@pytest.mark.parametrize("host", [b"127.0.0.1:8000", b"localhost", b"[::1]:8000", b"127.0.0.9"])
def test_on_loopback_without_keys_this_machine_may_change(host: bytes) -> None:
    assert NO_KEYS.admit(ADMIN, {b"host": [host]}) == "loopback"
    origin = {b"host": [host], b"origin": [b"http://" + host], b"sec-fetch-site": [b"same-origin"]}
    assert NO_KEYS.admit(ADMIN, origin) == "loopback"


FROM_ELSEWHERE: dict[str, Headers] = {
    "no host": {},
    "two hosts": {b"host": [b"localhost", b"evil.example"]},
    "a name pointed here": {b"host": [b"evil.example:8000"]},
    "a name that looks like here": {b"host": [b"127.0.0.1.evil.example"]},
    "a user before the host": {b"host": [b"localhost@evil.example"]},
    "another page's request": {**LOCAL, b"origin": [b"https://evil.example"]},
    "another server's page": {**LOCAL, b"origin": [b"http://127.0.0.1:3000"]},
    "a page without a name": {**LOCAL, b"origin": [b"null"]},
    "an image of another page": {**LOCAL, b"sec-fetch-site": [b"cross-site"]},
    "a proxy": {**LOCAL, b"x-forwarded-for": [b"203.0.113.9"]},
    "a proxy by the standard": {**LOCAL, b"forwarded": [b"for=203.0.113.9"]},
}


@pytest.mark.parametrize("headers", FROM_ELSEWHERE.values(), ids=FROM_ELSEWHERE.keys())
def test_web_pages_and_other_machines_are_not_this_machine(headers: Headers) -> None:
    with pytest.raises(Forbidden, match="this machine alone"):
        NO_KEYS.admit(ADMIN, headers)


@given(st.lists(st.binary(max_size=12), max_size=3), st.lists(st.binary(max_size=12), max_size=3))
def test_only_a_known_key_opens_and_no_error_shows_one(
    keys: list[bytes], schemes: list[bytes]
) -> None:
    headers = {b"x-api-key": keys, b"authorization": [b"Bearer " + each for each in schemes]}
    for access in (KEYED, REACHABLE):
        with pytest.raises(QuantserveError) as caught:
            access.admit(ADMIN, headers)
        assert not any(known in str(caught.value) for known in ("old-admin", "new-admin"))
