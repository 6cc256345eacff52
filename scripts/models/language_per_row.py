"""Quantize a language model to INT8 with a scale for each token, from its FP32 version:

    python scripts/models/language_per_row.py FP32_VERSION models/NAME/2

A token's scale is its own, so that answers do not depend on the others of a batch.
"""

import argparse
import shutil
from pathlib import Path

import onnx

from service.core.names import LANGUAGE_FILE
from service.engine.cpu.kernels import saturates
from service.quantization.recipes.catalogue import PerRow
from service.quantization.recipes.per_row import Rewriting, rewrite


def main() -> None:
    """Write the version."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("source", type=Path, help="folder of the FP32 version")
    parser.add_argument("target", type=Path, help="folder of the version to write")
    parser.add_argument("--symmetric", action="store_true", help="the range is around zero")
    asked = parser.parse_args()
    if not (asked.source / LANGUAGE_FILE).is_file():
        raise SystemExit(f"{asked.source} holds no language model")
    model = onnx.load(asked.source / "model.onnx")
    method = PerRow(asymmetric=not asked.symmetric, reduce_range=saturates())
    count = rewrite(model, Rewriting(method, {}, frozenset()))
    asked.target.mkdir(parents=True)
    onnx.save(
        model, asked.target / "model.onnx", save_as_external_data=True, location="model.onnx.data"
    )
    for file in asked.source.iterdir():
        if not file.name.startswith("model.onnx"):
            shutil.copy(file, asked.target)
    print(f"{asked.target}: {count} products in INT8")


if __name__ == "__main__":
    main()
