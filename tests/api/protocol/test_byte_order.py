"""A byte order mark before JSON is ignored if it is UTF-8's, and refused otherwise."""

import codecs
from pathlib import Path

import pytest

from tests.inprocess import serve
from tests.repositories import put, scale

MARK = codecs.BOM_UTF8


async def test_every_json_body_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    put(tmp_path, "m", 1, scale(2))
    put(tmp_path, "m", 2, scale(3))
    (tmp_path / "m/model.toml").write_bytes(MARK + b"[batching]\nmax_batch_size = 8")
    async with serve(tmp_path) as served:
        for path, body in [
            ("/v1/models/m:predict", b'{"instances": [[1, 2]]}'),
            ("/v2/repository/index", b'{"ready": true}'),
            ("/v2/repository/index", b""),
            ("/v2/repository/models/m/load", b""),
            ("/v2/repository/models/m/load", rb'{"parameters": {"config": "\ufeff{}"}}'),
            ("/admin/models/m/swap", b'{"version": 1}'),
        ]:
            reply = await served.client.post(path, content=MARK + body)
            assert reply.status_code == 200, (path, reply.text)
            assert served.server.repository.model("m").config.batching.max_batch_size == 8


@pytest.mark.parametrize(
    "path",
    ["/v1/models/m:predict", "/v2/models/m/infer", "/v2/repository/index", "/admin/models/m/swap"],
)
async def test_other_encodings_are_named_in_the_error(tmp_path: Path, path: str) -> None:
    put(tmp_path, "m", 1, scale(2))
    async with serve(tmp_path) as served:
        reply = await served.client.post(path, content="{}".encode("utf-16"))
        assert (reply.status_code, reply.json()["error"]) == (
            400,
            "the body is UTF-16, expected JSON in UTF-8",
        )
