"""`python -m tests.benchmarks.image`: JPEGs of 640 x 480 to a server, against a loop on all cores
that decodes, resizes and runs the same graph, with Pillow, numpy and one thread a run.

The graph is EfficientNet-Lite0's in static INT8. Its weights are random: they do not change the
time. Both are run in turns; what is printed are medians of images/s, and the ratio of the medians.
"""

import argparse
import http.client
import os
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, closing, contextmanager
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from time import perf_counter

import numpy as np
import onnx
import onnxruntime as ort
from onnxruntime.quantization import CalibrationDataReader, QuantType, quantize_static
from PIL import Image

from tests.benchmarks.line import Line
from tests.engine.graphs import constant, model, node, value
from tests.pictures import MEAN, STD, encoded, picture
from tests.system.process import running

Work = Callable[[bytes], None]
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
        """The whole network."""
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
    """Rows to calibrate on."""

    def __init__(self, rows: list[np.ndarray]) -> None:
        self._rows: Iterator[np.ndarray] = iter(rows)

    def get_next(self) -> dict[str, np.ndarray] | None:
        """The next one."""
        row = next(self._rows, None)
        return None if row is None else {"image": row}


def quantized(folder: Path, photos: list[bytes]) -> Path:
    """The network in static INT8; returns the model's folder."""
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
    """FP32 [1, 3, 224, 224] of a JPEG, as a careful script does it."""
    image = Image.open(BytesIO(photo)).convert("RGB")
    ratio = SHORTER / min(image.size)
    image = image.resize((int(image.width * ratio), int(image.height * ratio)),
                         Image.Resampling.BILINEAR)  # fmt: skip
    left, top = (image.width - SIDE) // 2, (image.height - SIDE) // 2
    image = image.crop((left, top, left + SIDE, top + SIDE))
    values = np.asarray(image).transpose(2, 0, 1)
    factor = np.array([1 / 255 / s for s in STD], np.float32)[:, None, None]
    offset = np.array([-m / s for m, s in zip(MEAN, STD, strict=True)], np.float32)[:, None, None]
    row = np.multiply(values, factor, dtype=np.float32, order="C")
    row += offset
    return row[None]


@contextmanager
def looping(work: Work) -> Iterator[Work]:
    """The same work for every thread."""
    yield work


def rate(
    new: Callable[[], AbstractContextManager[Work]],
    threads: int,
    photos: list[bytes],
    seconds: float,
) -> float:
    """Images/s of so many threads side by side, each with work of its own."""
    end = perf_counter() + seconds

    def loop(number: int) -> int:
        done = 0
        with new() as work:
            while perf_counter() < end:
                work(photos[(number + done) % len(photos)])
                done += 1
        return done

    began = perf_counter()
    with ThreadPoolExecutor(threads) as pool:
        total = sum(pool.map(loop, range(threads)))
    return total / (perf_counter() - began)


@contextmanager
def posting(port: int) -> Iterator[Work]:
    """Posts images over a connection of its own."""
    connection = http.client.HTTPConnection("127.0.0.1", port)

    def post(photo: bytes) -> None:
        headers = {"Content-Type": "image/jpeg"}
        connection.request("POST", "/v1/models/lite0:predict", photo, headers)
        answer = connection.getresponse()
        body = answer.read()
        assert answer.status == 200, body

    with closing(connection):
        yield post


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clients", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=4.0)
    asked = parser.parse_args()
    cores = len(os.sched_getaffinity(0))
    photos = [encoded(picture(640, 480).rotate(40 * i), "JPEG", quality=90) for i in range(8)]
    with tempfile.TemporaryDirectory() as folder:
        home = quantized(Path(folder) / "models", photos)
        options = ort.SessionOptions()
        options.intra_op_num_threads = 1
        session = ort.InferenceSession(home / "model.onnx", options)

        def bare(photo: bytes) -> None:
            session.run(None, {"image": prepared(photo)})

        with running(Path(folder) / "models") as server:
            loops, requests = [], []
            for _ in range(asked.rounds):
                loops.append(rate(partial(looping, bare), cores, photos, asked.seconds))
                client = partial(posting, server.port)
                requests.append(rate(client, asked.clients, photos, asked.seconds))
    print(f"{cores} cores, {asked.clients} clients, JPEGs of {len(photos[0]) // 1024} KiB")
    print(f"  loop   {median(loops):8.1f} images/s   {[round(each, 1) for each in loops]}")
    print(f"  server {median(requests):8.1f} images/s   {[round(each, 1) for each in requests]}")
    print(Line("images/s, server to loop", TARGET, median(requests) / median(loops)))


if __name__ == "__main__":
    main()
