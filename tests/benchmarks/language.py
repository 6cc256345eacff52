"""`python -m tests.benchmarks.language FOLDER`: a language model's engine against a bare loop over
the same graph, against onnxruntime-genai's Generator where that is installed, and against itself
behind a server, streamed, and against openvino-genai and llama.cpp (``--openvino``, ``--llama``).
One thread each.

FOLDER is a version as onnxruntime-genai's builder writes it. All run alternately in one process;
the output is ratios of medians. Greedy tokens are compared too: alone and batched, and with those
of the Generator.
"""

import argparse
import asyncio
import importlib.util
import json
import shutil
import subprocess
import tempfile
from collections.abc import Awaitable, Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from time import perf_counter
from typing import Any

import httpx

from service.config.model import ModelConfig
from service.core.events import BatchExecuted, Event
from service.core.generation import GenerationRequest, SamplingParameters
from service.engine.generation.batcher import GenerationBatcher
from service.engine.generation.language_model import LanguageModel
from service.engine.loading.loader import load
from tests.system.process import running

STREAMS, TOKENS, ROUNDS = 8, 48, 3
PLACES = ("France", "Spain", "Italy", "Japan", "Peru", "Chile", "Egypt", "Kenya")
TEXTS = tuple(f"The capital of {place} is a city that" for place in PLACES)
SCRIPTS = {"openvino-genai": "language_openvino.py", "llama.cpp": "language_llama.py"}
"""Of the peers that have a process and a Python of their own."""
Work = Callable[[int], Awaitable[list[list[int]]]]


class Engine:
    """The engine of quantserve: whole requests with tokenising, sampling, text and streams."""

    def __init__(self, language: LanguageModel) -> None:
        self._language = language
        self.events: list[Event] = []
        self._batcher = GenerationBatcher(("m", 1), language, self.events.append, limit=99)

    async def __call__(self, streams: int) -> list[list[int]]:
        # Without log-probabilities: no peer computes them either.
        return await asyncio.gather(*(self.ask(text, None) for text in TEXTS[:streams]))

    async def ask(self, text: str, logprobs: int | None = 0) -> list[int]:
        """Return the tokens of a greedy answer, which only come with log-probabilities."""
        tokens = tuple(self._language.tokenizer.encode(text, special=True))
        sampling = SamplingParameters(temperature=0.0, logprobs=logprobs)
        asked = GenerationRequest(tokens, sampling, TOKENS, ignore_eos=True)
        stream = self._batcher.generate(asked)
        return [token.token async for delta in stream for token in delta.chosen]

    async def joined(self) -> list[list[int]]:
        """Return the tokens of all answers, requested together."""
        return await asyncio.gather(*map(self.ask, TEXTS))

    def sampling_share(self) -> float:
        """Return the share of the steps' time spent on sampling and decoding to text."""
        timings = [each.timing for each in self.events if isinstance(each, BatchExecuted)]
        return sum(each.split for each in timings) / sum(each.total for each in timings)

    def close(self) -> None:
        """End its thread."""
        self._batcher.close()


def bare(language: LanguageModel) -> Work:
    """Run the same graph and cache in a loop without other work."""
    decoder = language.decoders[0].beside(STREAMS, 256)

    async def work(streams: int) -> list[list[int]]:
        answers, lengths = [], []
        for row, text in enumerate(TEXTS[:streams]):
            tokens = language.tokenizer.encode(text, special=True)
            answers.append([int(decoder.read(row, [tokens]).argmax())])
            lengths.append(len(tokens))
        for step in range(TOKENS - 1):
            last = [answer[-1] for answer in answers]
            scores = decoder.next(last, [length + step for length in lengths])
            for answer, token in zip(answers, scores.argmax(axis=1).tolist(), strict=True):
                answer.append(token)
        return answers

    return work


@contextmanager
def served(folder: Path) -> Iterator[Work]:
    """Start a server in a separate process with the same settings; its answers are streamed."""
    with tempfile.TemporaryDirectory() as name:
        models = Path(name)
        shutil.copytree(folder, models / "m/1")
        (models / "m/model.toml").write_text(
            f"[instances]\ncount = 1\nthreads = 1\n[generation]\nslots = {STREAMS}\n"
        )
        with running(models) as server:
            # The client is not part of the time: to create one takes 60 ms and more, for the
            # certificates.
            client = httpx.AsyncClient(base_url=f"http://{server.address}", timeout=120)
            yield partial(_ask_server, client)


async def _ask_server(client: httpx.AsyncClient, streams: int) -> list[list[int]]:
    """Read whole streams, and check that each has as many tokens as asked for."""

    async def ask(text: str) -> list[int]:
        body = {"model": "m", "prompt": text, "max_tokens": TOKENS, "temperature": 0}
        body |= {"stream": True, "ignore_eos": True, "stream_options": {"include_usage": True}}
        async with client.stream("POST", "/v1/completions", json=body) as reply:
            events = b"".join([piece async for piece in reply.aiter_raw()])
        *_, usage, done = events.decode().removesuffix("\n\n").split("\n\n")
        assert done == "data: [DONE]"
        assert json.loads(usage.removeprefix("data: "))["usage"]["completion_tokens"] == TOKENS
        return []

    return await asyncio.gather(*map(ask, TEXTS[:streams]))


def generator(folder: Path, language: LanguageModel) -> Work:
    """Run onnxruntime-genai's Generator on one static batch. Every batch requires a new one."""
    import onnxruntime_genai as genai

    config = genai.Config(str(folder))
    config.overlay('{"model": {"decoder": {"session_options": {"intra_op_num_threads": 1}}}}')
    model = genai.Model(config)
    encode = language.tokenizer.encode

    async def work(streams: int) -> list[list[int]]:
        prompts = [encode(text, special=True) for text in TEXTS[:streams]]
        length = max(map(len, prompts))
        assert all(len(prompt) == length for prompt in prompts), "no padding is compared"
        options = {"max_length": length + TOKENS, "min_length": length + TOKENS}
        parameters = genai.GeneratorParams(model)
        parameters.set_search_options(**options, do_sample=False, batch_size=streams)
        made = genai.Generator(model, parameters)
        made.append_tokens([token for prompt in prompts for token in prompt])
        while not made.is_done():
            made.generate_next_token()
        return [made.get_sequence(row)[length:].tolist() for row in range(streams)]

    return work


@contextmanager
def apart(script: str, python: Path, weights: Path) -> Iterator[Work]:
    """Run a peer with a GGUF file in a separate process, possibly with another Python."""
    command = [python, Path(__file__).with_name(script), weights]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None
        given, told = process.stdin, process.stdout

        def line() -> Any:
            while not (text := told.readline()).startswith(('"', *"0123456789")):
                assert text, f"{script} has ended"
            return json.loads(text)

        def ask(streams: int) -> list[list[int]]:
            given.write(json.dumps([TEXTS[:streams], TOKENS]) + "\n")
            given.flush()
            line()
            return [[]]

        async def work(streams: int) -> list[list[int]]:
            return await asyncio.to_thread(ask, streams)

        assert line() == "ready"
        yield work
        given.close()


async def timed(work: Work, streams: int) -> tuple[float, list[list[int]]]:
    """Return the tokens/s, and the tokens."""
    started = perf_counter()
    tokens = await work(streams)
    return streams * TOKENS / (perf_counter() - started), tokens


async def compare(folder: Path, peer: Path, rounds: int, others: dict[str, list[Path]]) -> None:
    """Measure, and print."""
    settings = {"instances": {"count": 1, "threads": 1}, "generation": {"slots": STREAMS}}
    language = load(folder.resolve(), ModelConfig.model_validate(settings), 1).language
    assert language is not None, f"{folder} holds no language model"
    engine = Engine(language)
    works: dict[str, Work] = {"engine": engine, "bare loop": bare(language)}
    if importlib.util.find_spec("onnxruntime_genai"):
        works["genai Generator"] = generator(peer, language)
    with ExitStack() as stack:
        works["server"] = stack.enter_context(served(folder.resolve()))
        for name, (python, weights) in others.items():
            works[name] = stack.enter_context(apart(SCRIPTS[name], python, weights))
        await measure(engine, works, rounds)


async def measure(engine: Engine, works: dict[str, Work], rounds: int) -> None:
    """Run all alternately, and print."""
    alone = [await engine.ask(text) for text in TEXTS]
    joined = await engine.joined()
    speeds: dict[tuple[str, int], list[float]] = {}
    found: dict[tuple[str, int], list[list[int]]] = {}
    for _ in range(rounds):
        for streams in (1, STREAMS):
            for name, work in works.items():
                speed, found[name, streams] = await timed(work, streams)
                speeds.setdefault((name, streams), []).append(speed)
    engine.close()
    found["engine", STREAMS] = joined
    report(speeds, found, alone)
    print(f"choosing tokens and making text: {100 * engine.sampling_share():.1f} % of the steps")


def report(
    speeds: dict[tuple[str, int], list[float]],
    found: dict[tuple[str, int], list[list[int]]],
    alone: Sequence[Sequence[int]],
) -> None:
    """Print the ratios of medians, with the range of the measurements."""
    mid = {key: median(each) for key, each in speeds.items()}
    for (name, streams), each in speeds.items():
        if name == "engine":
            print(f"{streams} streams, engine: {min(each):.0f} to {max(each):.0f} tokens/s")
            continue
        ratio: Any = mid["engine", streams] / mid[name, streams]
        shown = f"{min(each):.0f} to {max(each):.0f} tokens/s"
        print(f"{streams} streams, engine to {name}: {ratio:.2f} ({shown})")
    print(f"{STREAMS} streams to 1: {mid['engine', STREAMS] / mid['engine', 1]:.2f}")
    for (name, streams), tokens in found.items():
        if not tokens[0]:
            continue  # it tells text, or nothing
        same = sum(a == list(b) for a, b in zip(tokens, alone, strict=False))
        print(f"{name}, {streams} streams: {same} of {streams} as the engine alone")


def main() -> None:
    """Measure one model."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--peer", type=Path, help="version for the Generator; FOLDER's otherwise")
    for flag, name in (("--openvino", "openvino-genai"), ("--llama", "llama.cpp")):
        parser.add_argument(
            flag, type=Path, nargs=2, metavar=("PYTHON", "GGUF"), dest=name,
            help=f"a Python that has {name}, and the weights for it",
        )  # fmt: skip
    parser.add_argument("--rounds", type=int, default=ROUNDS)
    asked = parser.parse_args()
    others = {name: given for name in SCRIPTS if (given := getattr(asked, name))}
    asyncio.run(compare(asked.folder, asked.peer or asked.folder, asked.rounds, others))


if __name__ == "__main__":
    main()
