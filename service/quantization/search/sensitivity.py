"""Measures the quantization noise of each part of a graph, one part at a time. Runs in a worker.

A part is a product with the operators that follow it.
"""

from collections.abc import Sequence
from pathlib import Path

import onnx

from service.core.tensors import Arrays
from service.engine.runtime.opening import SessionOptions
from service.engine.runtime.session import Session
from service.quantization.data.rows import load_rows
from service.quantization.evaluate.noise import noise
from service.quantization.graphs.parts import all_nodes
from service.quantization.recipes.build import WorkDir, build_file
from service.quantization.recipes.catalogue import PRODUCTS, Dynamic, PerRow, Recipe, mixed

OPENING = (*PRODUCTS, "LSTM")
STRETCHES, MOST_PARTS = 40, 60
ROWS = 16
Part = tuple[str, ...]


def parts_of(recipe: Recipe, work_dir: WorkDir) -> tuple[Part, ...]:
    """Return the nodes that a recipe may quantize, split into parts, in the graph's order.

    A part begins at each product, and within long sequences without products. Adjacent parts are
    merged so that there are at most 60.
    """
    nodes = _quantizable(recipe, onnx.load(work_dir.prepared(recipe.preparation)).graph)
    longest = max(4, -(-len(nodes) // STRETCHES))  # at least 4, to keep activations with products
    parts: list[list[str]] = []
    for node in nodes:
        if node.op_type in OPENING or not parts or len(parts[-1]) >= longest:
            parts.append([])
        parts[-1].append(node.name)
    size = -(-len(parts) // MOST_PARTS) or 1
    merged = [sum(parts[i : i + size], []) for i in range(0, len(parts), size)]
    return tuple(tuple(part) for part in merged)


def _quantizable(recipe: Recipe, graph: onnx.GraphProto) -> list[onnx.NodeProto]:
    ops = set(getattr(recipe.method, "ops", ()))
    constants = {tensor.name for tensor in graph.initializer}
    per_row = isinstance(recipe.method, PerRow)
    weights_only = per_row or getattr(recipe.method, "inputs_only", False)
    inner = per_row or isinstance(recipe.method, Dynamic)
    nodes = all_nodes(graph) if inner else graph.node
    return [
        node
        for node in nodes
        if (not ops or node.op_type in ops) and (not weights_only or set(node.input) & constants)
    ]


def sensitivity(recipe: Recipe, parts: Sequence[Part], index: int, work_dir: WorkDir) -> float:
    """Return the highest noise-to-signal ratio of all outputs if only one part is quantized."""
    others = tuple(name for i, part in enumerate(parts) if i != index for name in part)
    path = work_dir.folder / "part.onnx"
    build_file(mixed(recipe, others), work_dir, path)
    # Evaluation rows judge the result, so they must not influence the choice of nodes.
    feeds = load_rows(work_dir.calibration).feeds[:ROWS]
    return noise(_run(work_dir.prepared("raw"), feeds), _run(path, feeds))


def _run(path: Path, feeds: Sequence[Arrays]) -> list[Arrays]:
    session = Session(path, SessionOptions(1))
    return [session.run(row) for row in feeds]
