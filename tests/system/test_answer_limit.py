"""A server with an answer limit of 100,000 bytes."""

import gzip
import json
from collections.abc import Iterator

import pytest

from tests import tiny_models
from tests.system.process import Running, running
from tests.system.wire import post

WIDE = "/v2/models/wide/infer"
V1 = "/v1/models/wide:predict"
GZIP = {"Accept_Encoding": "gzip", "Content_Encoding": "gzip"}


@pytest.fixture(scope="module")
def limited(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Running]:
    models = tmp_path_factory.mktemp("limited")
    tiny_models.wide(models, 2**14)
    with running(models, "--max-response-bytes", "100000") as served:
        yield served


def wide(rows: int, **more: object) -> bytes:
    x = {"name": "x", "datatype": "FP32", "shape": [rows, 1], "data": [0] * rows}
    return json.dumps({"inputs": [x], **more}).encode()


@pytest.mark.parametrize("path", [WIDE, V1])
@pytest.mark.parametrize("packed", [False, True])
def test_an_answer_over_the_limit_is_refused_with_both_sizes(
    limited: Running, path: str, packed: bool
) -> None:
    def asked(rows: int) -> bytes:
        body = wide(rows) if path == WIDE else json.dumps({"instances": [[0]] * rows}).encode()
        return post(path, gzip.compress(body), **GZIP) if packed else post(path, body)

    with limited.line() as line:
        assert line.ask(asked(1)).status == 200
        answer = line.ask(asked(2))
        assert answer.status == 413
        assert "at most 100000 are allowed (--max-response-bytes)" in answer.error
        assert line.ask(asked(1)).status == 200


def test_raw_answers_and_classes_have_the_same_limit(limited: Running) -> None:
    binary = {"binary_data_output": True}
    classes = [{"name": "y", "parameters": {"classification": 10**9}}]
    one = limited.ask(post(WIDE, wide(1, parameters=binary)))
    assert one.status == 200 and len(one.body) > 2**16
    assert limited.ask(post(WIDE, wide(2, parameters=binary))).status == 413
    assert limited.ask(post(WIDE, wide(1, outputs=classes))).status == 413


def test_an_output_requested_twice_is_refused(limited: Running) -> None:
    answer = limited.ask(post(WIDE, wide(1, outputs=[{"name": "y"}] * 2)))
    assert answer.status == 400
    assert '"outputs" names "y" twice' in answer.error
