"""Builds models/digits: two INT8 classifiers of handwritten digits, with golden rows.

Version 1 is small and was trained on MNIST only. Version 2 is larger and was trained on distorted
copies of MNIST's and UCI's digits. They share a signature, so that each can replace the other.

    python scripts/models/digits.py [--keep-fp32 FOLDER]

Needs torch, onnx, onnxruntime, numpy, scipy, scikit-learn, mlxtend.
"""

import argparse
import math
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import onnx
import sequential
import torch
from golden import write_example, write_golden
from graph import Graph
from heldout import SEED, Digits, mnist, optdigits
from measure import answer, kernels, kilobytes, milliseconds, table
from quantize_static import to_int8
from strip import save
from torch import nn
from torch.nn import functional

DESTINATION = Path("models/digits")
GOLDEN_PER_CLASS = [4, 4, 3, 3, 3, 3, 3, 3, 3, 3]
BATCH = 128
SETTINGS = """[outputs.probabilities]
labels = [{names}]

[gate.outputs.probabilities]
min_accuracy = 0.85
min_cosine = 0.8
"""


@dataclass(frozen=True, slots=True)
class Recipe:
    """The settings for building one version."""

    version: int
    network: nn.Sequential
    rows: Digits
    epochs: int
    distort: bool


@dataclass(frozen=True, slots=True)
class Built:
    """One version's files."""

    version: int
    fp32: Path
    int8: Path


def small() -> nn.Sequential:
    """Return a network of 51,000 parameters."""
    # A wide stride keeps the first convolution small: with one input channel it gains nothing
    # from integers.
    return nn.Sequential(
        *_convolution(1, 32, side=5, stride=2), *_convolution(32, 64), nn.MaxPool2d(2),
        nn.Flatten(), nn.Linear(64 * 49, 10),
    )  # fmt: skip


def large() -> nn.Sequential:
    """Return a network of 242,000 parameters."""
    return nn.Sequential(
        *_convolution(1, 32), nn.MaxPool2d(2), *_convolution(32, 64), nn.MaxPool2d(2),
        *_convolution(64, 128), *_convolution(128, 128),
        nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Dropout(0.3), nn.Linear(128, 10),
    )  # fmt: skip


def _convolution(channels: int, filters: int, side: int = 3, stride: int = 1) -> list[nn.Module]:
    convolution = nn.Conv2d(channels, filters, side, stride, padding=side // 2, bias=False)
    return [convolution, nn.BatchNorm2d(filters), nn.ReLU()]


def distorted(images: torch.Tensor) -> torch.Tensor:
    """Return the images, each rotated, scaled, slanted and moved slightly."""
    amount = torch.rand(5, len(images)) * 2 - 1
    turn, scale, slant = amount[0] * math.radians(12), 1 + amount[1] * 0.12, amount[2] * 0.2
    down, right = amount[3] * 0.15, amount[4] * 0.15
    cos, sin = turn.cos() * scale, turn.sin() * scale
    theta = torch.stack([cos, sin + slant, right, -sin, cos, down], dim=1).view(-1, 2, 3)
    grid = functional.affine_grid(theta, list(images.shape), align_corners=False)
    return functional.grid_sample(images, grid, align_corners=False)


def train(recipe: Recipe) -> nn.Sequential:
    """Train on shuffled minibatches with one learning-rate cycle."""
    network = recipe.network.train()
    images, labels = torch.from_numpy(recipe.rows.images), torch.from_numpy(recipe.rows.labels)
    optimizer = torch.optim.AdamW(network.parameters(), weight_decay=0.01)
    steps = recipe.epochs * math.ceil(len(labels) / BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=4e-3, total_steps=steps)
    for _ in range(recipe.epochs):
        for batch in torch.randperm(len(labels)).split(BATCH):
            shown = distorted(images[batch]) if recipe.distort else images[batch]
            loss = functional.cross_entropy(network(shown), labels[batch], label_smoothing=0.05)
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return network.eval()


def to_onnx(network: nn.Sequential) -> onnx.ModelProto:
    """Return the trained network in FP32, ending in a softmax."""
    graph = Graph("digits")
    image = graph.floats_in("image", ["batch", 1, 28, 28])
    logits = sequential.append(graph, network, image)
    graph.node("Softmax", logits, to="probabilities", axis=-1)
    graph.floats_out("probabilities", ["batch", 10])
    return graph.model()


def build(recipe: Recipe, calibration: np.ndarray, twins: Path) -> Built:
    """Train, export and quantize one version. An existing FP32 model is not trained again."""
    place = Path(str(recipe.version), "model.onnx")
    twin = twins / "digits" / place
    if not twin.exists():
        torch.manual_seed(SEED + recipe.version)
        for layer in recipe.network:
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()
        save(to_onnx(train(recipe)), twin)
    fp32 = onnx.load(twin)
    # Softmax stays in float: in eight bits its small probabilities would all become 0.
    ops = ["Conv", "Relu", "MaxPool", "GlobalAveragePool", "Flatten", "Gemm"]
    int8 = to_int8(fp32, [{"image": image[None]} for image in calibration], ops)
    return Built(recipe.version, twin, save(int8, DESTINATION / place))


def golden_rows(held: Digits, versions: list[Built]) -> np.ndarray:
    """Return the indices of held-out rows, balanced over the classes, for which every file predicts
    the correct class with a probability above 0.8."""
    sure = np.ones(len(held.labels), bool)
    for built in versions:
        for path in (built.fp32, built.int8):
            probabilities = answer(path, {"image": held.images})
            sure &= probabilities[np.arange(len(sure)), held.labels] > 0.8
    chosen = [
        np.flatnonzero(sure & (held.labels == digit))[:count]
        for digit, count in enumerate(GOLDEN_PER_CLASS)
    ]
    return np.concatenate(chosen)


def write_companions(held: Digits, versions: list[Built]) -> None:
    """Write golden rows, the example request and the labels."""
    rows = golden_rows(held, versions)
    images, labels = held.images[rows], held.labels[rows]
    outputs = {"probabilities": answer(versions[-1].fp32, {"image": images})}
    write_golden(DESTINATION, {"image": images}, outputs, labels.astype(np.int64))
    seven = images[labels == 7][:1]
    classification = {"name": "probabilities", "parameters": {"classification": 3}}
    write_example(DESTINATION, {"image": seven}, classification, width=28)
    names = ", ".join(f'"{digit}"' for digit in range(10))
    (DESTINATION / "model.toml").write_text(SETTINGS.format(names=names))


def report(built: Built, tests: dict[str, Digits]) -> list[list[str]]:
    """Return rows of the table: one for FP32, one for INT8."""
    paths = [built.fp32, built.int8]
    zeros = [np.zeros((size, 1, 28, 28), np.float32) for size in (1, 32)]
    times = [milliseconds(paths, {"image": image}) for image in zeros]
    lines = []
    for path, precision, *spent in zip(paths, ("FP32", "INT8"), *times, strict=True):
        scores = [
            f"{(answer(path, {'image': test.images}).argmax(1) == test.labels).mean():.2%}"
            for test in tests.values()
        ]
        integer, floating = kernels(path)
        kinds = f"{integer} int, {floating} float"
        clock = [f"{time:.3f}" for time in spent]
        size = f"{kilobytes(path):.1f}"
        lines.append([f"{built.version} {precision}", size, *scores, *clock, kinds])
    return lines


def main() -> None:
    """Build both versions and print a comparison of FP32 and INT8."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--keep-fp32", type=Path, help="folder to keep the FP32 models in")
    kept = parser.parse_args().keep_fp32
    torch.use_deterministic_algorithms(True)
    (mnist_rows, mnist_test), (uci_rows, uci_test) = mnist(), optdigits()
    both = mnist_rows + uci_rows
    recipes = [Recipe(1, small(), mnist_rows, 5, False), Recipe(2, large(), both, 30, True)]
    calibration = np.concatenate([mnist_rows.images[:200], uci_rows.images[:100]])
    with TemporaryDirectory() as scratch:
        versions = [build(recipe, calibration, kept or Path(scratch)) for recipe in recipes]
        write_companions(uci_test, versions)
        tests = {"MNIST": mnist_test, "UCI": uci_test}
        header = ["version", "kB", *tests, "ms b1", "ms b32", "matrix kernels"]
        print(table(header, [line for built in versions for line in report(built, tests)]))


if __name__ == "__main__":
    main()
