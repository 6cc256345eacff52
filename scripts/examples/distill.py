"""Distillation: a narrow student learns from a wide teacher, is quantized, and meets it again.

One student learns from the labels, another one also from the teacher's probabilities. Which of them
keeps more depends on the teacher and on the time that both get: the table tells, as ever. Student
and teacher share a signature, so the student's quantized file is a candidate for replacing the
teacher like any recipe applied to the teacher itself:

    python scripts/examples/distill.py FOLDER
    quantserve quantize FOLDER/digits-teacher.onnx --data FOLDER/rows.npz --max-drop 1% \\
        --qat FOLDER/student-alone.onnx --qat FOLDER/student-distilled.onnx
"""

import argparse
from pathlib import Path

import torch
from digits import mnist, network, quantized, save_rows, to_onnx, train
from qat import accuracy
from torch import nn
from torch.nn import functional

TEACHER, STUDENT = (16, 32, 64), (6, 12, 16)
TEMPERATURE, SHARE = 2.0, 0.5
"""Softer probabilities say more about the wrong classes; the rest of the loss is the labels'."""


def main() -> None:
    """Train the three networks and print how they compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--epochs", type=int, default=12)
    flags = parser.parse_args()
    flags.folder.mkdir(parents=True, exist_ok=True)
    learn, held = mnist()
    save_rows(held, flags.folder / "rows.npz")
    torch.manual_seed(0)
    teacher = train(network(*TEACHER), learn, flags.epochs, rate=4e-3)
    with torch.no_grad():
        taught = functional.softmax(teacher(torch.from_numpy(learn.images)) / TEMPERATURE, dim=1)

    def distillation(
        model: nn.Module, images: torch.Tensor, labels: torch.Tensor, places: torch.Tensor
    ) -> torch.Tensor:
        logits = model(images)
        soft = functional.kl_div(
            functional.log_softmax(logits / TEMPERATURE, dim=1), taught[places],
            reduction="batchmean",
        )  # fmt: skip
        hard = functional.cross_entropy(logits, labels)
        return SHARE * TEMPERATURE**2 * soft + (1 - SHARE) * hard

    files = {"teacher FP32": to_onnx(teacher, flags.folder / "digits-teacher.onnx")}
    for name, loss in (("alone", None), ("distilled", distillation)):
        torch.manual_seed(1)
        more = {} if loss is None else {"loss": loss}
        student = train(network(*STUDENT), learn, flags.epochs, rate=1e-2, **more)
        plain = to_onnx(student, flags.folder / f"{name}-float.onnx")
        target = flags.folder / f"student-{name}.onnx"
        files[f"student {name}, INT8"] = quantized(plain, learn, target)
    for name, path in files.items():
        print(f"{name:24}  {accuracy(path, held):7.2%}  {path.stat().st_size:7} bytes")


if __name__ == "__main__":
    main()
