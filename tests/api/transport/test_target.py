"""Both parsers of inference paths follow the same rules."""

from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from service.api.transport.target import Target, given_id, target_of, target_of_url

WORDS = st.text(st.characters(codec="utf-8", exclude_characters="/"), min_size=1, max_size=20)


@pytest.mark.parametrize(
    ("path", "target"),
    [
        ("/v2/models/m/infer", Target("v2", "m", None)),
        ("/v2/models/m/versions/3/infer", Target("v2", "m", "3")),
        ("/v1/models/m:predict", Target("v1", "m", None)),
        ("/v1/models/m/versions/3:predict", Target("v1", "m", "3")),
        ("/v2/models/m/versions/latest/infer", Target("v2", "m", "latest")),
        ("/v2/models/my model/infer", Target("v2", "my model", None)),
        ("/v2/models/m/ready", None),
        ("/v2/models//infer", None),
        ("/v2/models/m/infer/", None),
        ("/v1/models/m:predict/x", None),
    ],
)
def test_paths_of_inference(path: str, target: Target | None) -> None:
    assert target_of(path) == target


@given(WORDS, st.none() | WORDS, st.sampled_from(["v1", "v2"]))
def test_a_url_has_the_target_of_its_decoded_path_or_none(
    model: str, version: str | None, protocol: str
) -> None:
    versions = "" if version is None else f"/versions/{version}"
    path = f"/{protocol}/models/{model}{versions}{'/infer' if protocol == 'v2' else ':predict'}"
    found = target_of_url(quote(path, safe="/:").encode())
    assert found in (None, target_of(path))
    if quote(path, safe="/:") == path:
        assert "~" in path or found == target_of(path)


@pytest.mark.parametrize("url", [b"/v2/models/m/infer?x=1", b"/v2/models/%6d/infer", b"/" * 512])
def test_urls_that_need_decoding_have_no_target(url: bytes) -> None:
    assert target_of_url(url) is None


@pytest.mark.parametrize(
    ("header", "taken"),
    [(b"abc", True), (b"a" * 128, True), (b"a" * 129, False), (b"\xff", False), (b"", False)],
)
def test_a_request_id_is_accepted_if_it_is_valid_in_a_header(header: bytes, taken: bool) -> None:
    assert given_id(header) == (header if taken else None)
    assert given_id(None) is None
