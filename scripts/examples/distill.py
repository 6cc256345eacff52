"""Distillation: a narrow student learns from a wide teacher and, quantized, is compared with it.

As in practice, few rows have labels, and many more have none. One student learns from the labels
alone. Another student learns from the teacher's predictions for all rows, with or without labels.
Student and teacher share a signature, so the student's quantized file is a candidate for replacing
the teacher, like any recipe applied to the teacher itself:

    python scripts/examples/distill.py FOLDER
    quantserve quantize FOLDER/digits-teacher.onnx --data FOLDER/rows.npz --target size \\
        --max-drop 7% --qat FOLDER/student-alone.onnx --qat FOLDER/student-distilled.onnx
"""

import argparse
from pathlib import Path

import torch
from digits import Digits, mnist, network, quantized, save_rows, to_onnx, train
from qat import accuracy
from torch import nn
from torch.nn import functional

TEACHER, STUDENT = (16, 32, 64), (6, 12, 16)
LABELLED = 500
TEMPERATURE = 4.0
"""Softer probabilities contain more information about the wrong classes."""


def student() -> nn.Sequential:
    """Return a narrow network with the same initial weights each time."""
    torch.manual_seed(1)
    return network(*STUDENT)


def main() -> None:
    """Train the three networks and print a comparison."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=16)
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    learn, held = mnist()
    save_rows(held, flags.folder / "rows.npz")
    few = Digits(learn.images[:LABELLED], learn.labels[:LABELLED])
    torch.manual_seed(0)
    teacher = train(network(*TEACHER), learn, flags.epochs, rate=1e-2)
    with torch.no_grad():
        taught = functional.softmax(teacher(torch.from_numpy(learn.images)) / TEMPERATURE, dim=1)

    def distillation(
        model: nn.Module, images: torch.Tensor, labels: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        soft = functional.log_softmax(model(images) / TEMPERATURE, dim=1)
        return TEMPERATURE**2 * functional.kl_div(soft, taught[places], reduction="batchmean")

    alone, distilled = student(), student()
    # Both students train for the same number of steps, though one has fewer rows.
    train(alone, few, flags.epochs * len(learn.labels) // LABELLED, rate=1e-2)
    train(distilled, learn, flags.epochs, rate=1e-2, loss=distillation)
    files = {"teacher FP32": to_onnx(teacher, flags.folder / "digits-teacher.onnx")}
    for name, model in (("alone", alone), ("distilled", distilled)):
        plain = to_onnx(model, flags.folder / f"{name}-float.onnx")
        target = flags.folder / f"student-{name}.onnx"
        files[f"student {name}, INT8"] = quantized(plain, learn, target)
    for name, path in files.items():
        print(f"{name:24}  {accuracy(path, held):7.2%}  {path.stat().st_size:7} bytes")


if __name__ == "__main__":
    main()
