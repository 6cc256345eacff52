"""Quantization-aware training, and a case where it beats quantization after training: few bits.

A narrow digit network is trained in float. Its weights are then reduced to a few bits, once without
and once with training through fake quantization. Exporting the fake-quantized network itself would
produce a file whose Q/DQ nodes do not fuse. Therefore the fake quantization is removed, the weights
(which are now on the coarse grid) are exported in float, and ONNX Runtime's static quantization
creates the file.

    python scripts/examples/qat.py FOLDER [--bits 3]
    quantserve quantize FOLDER/digits-narrow.onnx --data FOLDER/rows.npz --target size \\
        --qat FOLDER/ptq-3bit.onnx --qat FOLDER/qat-3bit.onnx

In the report the two files are candidates like any other. Each weight of few bits is still stored
in a byte, so the file is not smaller. Only its compressed size is smaller, in a package or an
image.
"""

import argparse
import copy
import zlib
from pathlib import Path

import numpy as np
import onnxruntime as ort
import torch
from digits import Digits, mnist, network, quantized, save_rows, to_onnx, train
from torch import nn
from torch.nn.utils import parametrize

WIDTHS = (6, 12, 16)


class FakeQuantized(nn.Module):
    """Rounds weights to a grid of few bits, with one scale per filter; gradients pass through."""

    def __init__(self, bits: int) -> None:
        super().__init__()
        self.top = 2 ** (bits - 1) - 1

    def forward(self, weight: torch.Tensor) -> torch.Tensor:
        """Return the nearest points of the grid."""
        axes = tuple(range(1, weight.dim()))
        scale = weight.detach().abs().amax(axes, keepdim=True).clamp_min(1e-8) / self.top
        rounded = torch.clamp(torch.round(weight / scale), -self.top, self.top) * scale
        return weight + (rounded - weight).detach()


def with_fake_quantization(model: nn.Sequential, bits: int) -> nn.Sequential:
    """Return a copy whose convolutions and products use quantized weights."""
    model = copy.deepcopy(model)
    for layer in model:
        if isinstance(layer, nn.Conv2d | nn.Linear):
            parametrize.register_parametrization(layer, "weight", FakeQuantized(bits))
    return model


def stripped(model: nn.Sequential) -> nn.Sequential:
    """Remove the fake quantization; the weights keep their quantized values. Returns the
    network."""
    for layer in model:
        if parametrize.is_parametrized(layer):
            parametrize.remove_parametrizations(layer, "weight")
    return model


def accuracy(path: Path, rows: Digits) -> float:
    """Return the share of correct answers."""
    answers = ort.InferenceSession(path).run(None, {"image": rows.images})[0]
    return float(np.mean(answers.argmax(axis=1) == rows.labels))


def main() -> None:
    """Train, quantize in both ways, and print a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--bits", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=8)
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    learn, held = mnist()
    torch.manual_seed(0)
    model = train(network(*WIDTHS), learn, flags.epochs, rate=1e-2)
    fp32 = to_onnx(model, flags.folder / "digits-narrow.onnx")
    save_rows(held, flags.folder / "rows.npz")
    coarse, aware = (with_fake_quantization(model, flags.bits) for _ in range(2))
    train(aware, learn, flags.epochs // 2, rate=4e-3)
    files = {"FP32": fp32}
    for name, one in (("ptq", coarse), ("qat", aware)):
        plain = to_onnx(stripped(one), flags.folder / f"{name}-float.onnx")
        target = flags.folder / f"{name}-{flags.bits}bit.onnx"
        files[f"{name.upper()} {flags.bits} bits"] = quantized(plain, learn, target)
    print(f"{'':12}  accuracy  bytes   compressed")
    for name, path in files.items():
        data = path.read_bytes()
        packed = len(zlib.compress(data, 9))
        print(f"{name:12}  {accuracy(path, held):8.2%}  {len(data):6}  {packed:6}")


if __name__ == "__main__":
    main()
