"""Code shared by the examples: training data, narrow networks, training, and ONNX files.

Needs the same packages as the scripts in scripts/models.
"""

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import onnx
import torch
from torch import nn
from torch.nn import functional

sys.path.insert(0, str(Path(__file__).parents[1] / "models"))

import sequential  # noqa: E402
from graph import Graph  # noqa: E402
from heldout import SEED, Digits, mnist  # noqa: E402
from quantize_static import CalibrationRows  # noqa: E402

__all__ = ["SEED", "Digits", "mnist", "network", "quantized", "save_rows", "to_onnx", "train"]

BATCH = 64
Loss = Callable[[nn.Module, torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]


def network(*widths: int) -> nn.Sequential:
    """Return a network of 3x3 convolutions of these widths, with ten classes as output. Each
    convolution but the last is followed by pooling that halves the image."""
    layers: list[nn.Module] = []
    for before, width in zip((1, *widths), widths, strict=False):
        layers += [nn.Conv2d(before, width, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
    layers.pop()
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], 10))


def cross_entropy(
    model: nn.Module, images: torch.Tensor, labels: torch.Tensor, places: torch.Tensor
) -> torch.Tensor:
    """Return the cross-entropy loss. ``places`` are the indices of the rows."""
    return functional.cross_entropy(model(images), labels)


def train(
    model: nn.Module, rows: Digits, epochs: int, rate: float, loss: Loss = cross_entropy
) -> nn.Module:
    """Train on shuffled minibatches with one learning-rate cycle."""
    torch.manual_seed(SEED)
    images, labels = torch.from_numpy(rows.images), torch.from_numpy(rows.labels)
    optimizer = torch.optim.AdamW(model.parameters(), weight_decay=0.01)
    steps = epochs * -(-len(labels) // BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, max_lr=rate, total_steps=steps)
    model.train()
    for _ in range(epochs):
        for places in torch.randperm(len(labels)).split(BATCH):
            optimizer.zero_grad()
            loss(model, images[places], labels[places], places).backward()
            optimizer.step()
            schedule.step()
    return model.eval()


def to_onnx(model: nn.Sequential, path: Path) -> Path:
    """Write the network in FP32, with logits as output. Returns the path."""
    graph = Graph("digits")
    image = graph.floats_in("image", ["batch", 1, 28, 28])
    logits = sequential.append(graph, model, image)
    graph.floats_out(logits, ["batch", 10])
    path.write_bytes(graph.model().SerializeToString(deterministic=True))
    return path


def quantized(fp32: Path, rows: Digits, path: Path) -> Path:
    """Quantize to static QDQ with U8 activations and S8 weights per channel, the form that fuses.

    Weights get 7 bits, so that CPUs without VNNI do not saturate.
    """
    from onnxruntime.quantization import QuantType, quantize_static

    model = onnx.shape_inference.infer_shapes(onnx.load(fp32))
    feeds = [{"image": image[None]} for image in rows.images[:200]]
    quantize_static(
        model, path, CalibrationRows(feeds), per_channel=True, reduce_range=True,
        activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
    )  # fmt: skip
    return path


def save_rows(rows: Digits, path: Path) -> Path:
    """Write rows for ``quantserve quantize --data``. Returns the path."""
    np.savez(path, image=rows.images, labels=rows.labels)
    return path
