"""`python -m tests.benchmarks.image`: a JPEG of 640 x 480 to a server, against a loop on all cores
that decodes, resizes and runs the same graph, with Pillow, numpy and one thread a run.

The graph is EfficientNet-Lite0's in static INT8. Its weights are random: they do not change the
time. The answers to several images are compared with the loop's first. Then wrk asks the server,
and the loop runs, alternately. The output is the medians of images/s, and their ratio.
"""

import argparse
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO
from pathlib import Path
from statistics import median
from time import perf_counter

import httpx
import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from PIL import Image

from tests.benchmarks.line import Line
from tests.benchmarks.protocol import Message
from tests.benchmarks.wrk import Load, run
from tests.engine.graphs import constant, model, node, value
from tests.pictures import MEAN, STD, encoded, picture
from tests.system.process import running

Work = Callable[[bytes], np.ndarray]
SIDE, SHORTER, CLASSES = 224, 256, 1000
TARGET = 0.85
STAGES = (
    # expansion, kernel, stride, channels, blocks
    (1, 3, 1, 16, 1), (6, 3, 2, 24, 2), (6, 5, 2, 40, 2), (6, 3, 2, 80, 3),
    (6, 5, 1, 112, 3), (6, 5, 2, 192, 4), (6, 3, 1, 320, 1),
)  # fmt: skip
TOML = f"""
[image]
resize = "shortest"
shorter_side = {SHORTER}
mean = {list(MEAN)}
std = {list(STD)}
classes = 5
"""


class Network:
    """A graph that grows layer by layer from ``image`` FP32 [-1, 3, 224, 224]."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.weights = [constant("zero", 0, np.float32), constant("six", 6, np.float32)]
        self.last, self.channels = "image", 3
        self._rng = np.random.default_rng(0)

    def add(self, operator: str, *inputs: str, **attributes: object) -> None:
        """Add a node with one output, which becomes the last value."""
        name = f"{operator}{len(self.nodes)}"
        self.nodes.append(node(operator, *inputs, to=name, **attributes))
        self.last = name

    def convolve(
        self, channels: int, kernel: int, stride: int = 1, *, group: int = 1, bend: bool = True
    ) -> None:
        """A convolution with its bias, and ReLU6 if it is to ``bend``."""
        name, shape = f"w{len(self.nodes)}", (channels, self.channels // group, kernel, kernel)
        scale = (2 / (shape[1] * kernel * kernel)) ** 0.5
        weights = self._rng.standard_normal(shape) * scale
        self.weights.append(constant(name, weights, np.float32))
        self.weights.append(constant(f"b{name}", np.zeros(channels), np.float32))
        self.add(
            "Conv", self.last, name, f"b{name}", kernel_shape=[kernel] * 2, strides=[stride] * 2,
            pads=[kernel // 2] * 4, group=group,
        )  # fmt: skip
        self.channels = channels
        if bend:
            self.add("Clip", self.last, "zero", "six")

    def block(self, expansion: int, kernel: int, stride: int, channels: int) -> None:
        """An inverted bottleneck."""
        first, before = self.last, self.channels
        wide = before * expansion
        if expansion > 1:
            self.convolve(wide, 1)
        self.convolve(wide, kernel, stride, group=wide)
        self.convolve(channels, 1, bend=False)
        if stride == 1 and before == channels:
            self.add("Add", first, self.last)

    def build(self) -> onnx.ModelProto:
        """Build the whole network."""
        self.convolve(32, 3, 2)
        for expansion, kernel, stride, channels, blocks in STAGES:
            for number in range(blocks):
                self.block(expansion, kernel, stride if number == 0 else 1, channels)
        self.convolve(1280, 1)
        self.add("GlobalAveragePool", self.last)
        self.add("Flatten", self.last)
        weights = self._rng.standard_normal((1280, CLASSES)) * 1280**-0.5
        self.weights.append(constant("head", weights, np.float32))
        self.nodes.append(node("MatMul", self.last, "head", to="logits"))
        ends = [value("image", ["batch", 3, SIDE, SIDE])], [value("logits", ["batch", CLASSES])]
        return model(self.nodes, *ends, self.weights)


class Rows(CalibrationDataReader):
    """Rows for the calibration."""

    def __init__(self, rows: list[np.ndarray]) -> None:
        self._rows: Iterator[np.ndarray] = iter(rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """Return the next row."""
        row = next(self._rows, None)
        return None if row is None else {"image": row}


def quantized(folder: Path, photos: list[bytes]) -> Path:
    """Write the network in static INT8; return the model's folder."""
    home = folder / "lite0/1"
    home.mkdir(parents=True)
    (folder / "lite0/model.toml").write_text(TOML)
    plain = folder.parent / "lite0.onnx"
    onnx.save(Network().build(), plain)
    rows = Rows([prepared(photo) for photo in photos])
    quantize_static(
        plain, home / "model.onnx", rows, per_channel=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return home


def prepared(photo: bytes) -> np.ndarray:
    """Return FP32 [1, 3, 224, 224] of a JPEG, as a careful script does it."""
    image = Image.open(BytesIO(photo)).convert("RGB")
    ratio = SHORTER / min(image.size)
    image = image.resize((int(image.width * ratio), int(image.height * ratio)),
                         Image.Resampling.BILINEAR)  # fmt: skip
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    image = image.crop((left, top, left + SIDE, top + SIDE))
    values = np.asarray(image).transpose(2, 0, 1)
    factor = np.array([1 / 255 / s for s in STD], np.float32)[:, None, None]
    offset = np.array([-m / s for m, s in zip(MEAN, STD, strict=True)], np.float32)[:, None, None]
    row: np.ndarray = np.multiply(values, factor, dtype=np.float32, order="C")
    row += offset
    return row[None]


def rate(work: Work, threads: int, photo: bytes, seconds: float) -> float:
    """Return the images/s of this many concurrent threads."""
    end = perf_counter() + seconds

    def loop(_: int) -> int:
        done = 0
        while perf_counter() < end:
            work(photo)
            done += 1
        return done

    began = perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(loop, range(threads)))
    return total / (perf_counter() - began)


def verify(url: str, photos: list[bytes], work: Work) -> None:
    """Compare the best class and its score of each photo."""
    for photo in photos:
        answer = httpx.post(url, content=photo, headers={"Content-Type": "image/jpeg"})
        best = answer.raise_for_status().json()["predictions"][0][0]
        scores = work(photo)
        assert best["index"] == scores.argmax(), (best, scores.argmax())
        assert abs(best["score"] - scores.max()) < 0.02 * abs(scores).max(), best


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=int, default=4)
    asked = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    photos = [encoded(picture(640, 480).rotate(40 * i), "JPEG", quality=90) for i in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        home = quantized(Path(folder) / "models", photos)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(home / "model.onnx", options)

        def bare(photo: bytes) -> np.ndarray:
            scores: np.ndarray = session.run(None, {"image": prepared(photo)})[0][0]
            return scores

        body = Path(folder) / "photo.jpg"
        body.write_bytes(photos[0])
        with running(Path(folder) / "models") as server:
            url = f"http://{server.address}/v1/models/lite0:predict"
            verify(url, photos, bare)
            load, loops, requests = Load(url, body, Message(photos[0], "image/jpeg")), [], []
            for _ in range(asked.rounds):
                loops.append(rate(bare, cores, photos[0], asked.seconds))
                outcome = run(load, asked.clients, asked.seconds)
                requests.append(outcome.requests / outcome.seconds)
    print(f"{cores} cores, {asked.clients} clients, JPEGs of {len(photos[0]) // 1024} KiB")
    print(f"  loop   {median(loops):8.1f} images/s   {[round(each, 1) for each in loops]}")
    print(f"  server {median(requests):8.1f} images/s   {[round(each, 1) for each in requests]}")
    print(Line("images/s, server to loop", TARGET, median(requests) / median(loops)))


if __name__ == "__main__":
    main()
