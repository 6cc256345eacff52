"""Examples of requests: from a file, from a golden set, or generated."""

import asyncio
import json
import os
import re
import shutil
from pathlib import Path

import pytest

from tests.api.openapi.documents import documented, openapi
from tests.inprocess import ROOT, serve
from tests.repositories import put, scale

pytestmark = pytest.mark.asyncio(loop_scope="session")


X = {"name": "x", "datatype": "FP32", "shape": [1, 2], "data": [1, 2]}


async def test_a_golden_row_is_the_example_of_a_model_without_an_example_file(
    tmp_path: Path,
) -> None:
    shutil.copytree(ROOT / "models/diabetes", tmp_path / "diabetes")
    (tmp_path / "diabetes/example.json").write_text("not JSON")
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    (tmp_path / "digits/example.json").unlink()
    async with serve(tmp_path) as served:
        for method, address, body in documented(await openapi(served.client)):
            if address.endswith(("infer", "predict")):
                reply = await served.client.request(method, address, content=body)
                assert reply.status_code == 200, f"{method} {address}: {reply.text}"
                # Values of a patient and a drawn digit, not zeros.
                assert body and len(set(re.findall(rb"[0-9.]+", body))) > 8


ODD_EXAMPLES = {
    "pipe": os.mkfifo,
    "folder": Path.mkdir,
    "device": lambda path: path.symlink_to("/dev/zero"),
    "zeros": lambda path: (path.touch(), os.truncate(path, 8 * 2**30)),
    "no request": {"inputs": 1},
    "a list": [X],
    "null": None,
    "no inputs": {"inputs": []},
    "an input that is none": {"inputs": [1]},
    "a name that is none": {"inputs": [{**X, "name": []}]},
    "a negative shape": {"inputs": [{**X, "shape": [-1, -2]}]},
    "a shape of texts": {"inputs": [{**X, "shape": ["1", "2"]}]},
    "a shape of fractions": {"inputs": [{**X, "shape": [0.5, 4]}]},
    "a huge shape": {"inputs": [{**X, "shape": [2**62, 2**62]}]},
    "no shape": {"inputs": [{**X, "shape": None}]},
    "data that is one number": {"inputs": [{**X, "data": 2}]},
    "objects for data": {"inputs": [{**X, "data": [{"a": 1}, {"b": 2}]}]},
    "ragged data": {"inputs": [{**X, "data": [[1], [2, 3]]}]},
    "another name": {"inputs": [{**X, "name": "y", "parameters": {"a": []}}]},
    "not JSON": "{",
    "brackets": "[" * 100_000,
    "deep data": '{"inputs": [{"name": "x", "datatype": "FP32", "shape": [1], "data": '
    + "[" * 900
    + "]" * 900
    + "}]}",
}


@pytest.mark.parametrize("case", ODD_EXAMPLES)
async def test_an_invalid_example_is_ignored(tmp_path: Path, case: str) -> None:
    path, odd = tmp_path / "m/example.json", ODD_EXAMPLES[case]
    put(tmp_path, "m", 1, scale(2))
    if callable(odd):
        odd(path)
    else:
        path.write_text(odd if isinstance(odd, str) else json.dumps(odd))
    async with serve(tmp_path) as served, asyncio.timeout(60):
        for method, address, body in documented(await openapi(served.client)):
            if address.endswith(("infer", "predict")):
                assert body and json.loads(body) in (
                    {"inputs": [{**X, "shape": [1, 2], "data": [0.5, 1.2]}]},
                    {"instances": [[0.5, 1.2]]},
                )
                reply = await served.client.request(method, address, content=body)
                assert reply.status_code == 200, f"{method} {address}: {reply.text}"
