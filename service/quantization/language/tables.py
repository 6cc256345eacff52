"""Embedding tables of a language model in eight bits, each row with a scale of its own.

If a model's embedding table and the product of its scores share weights, the builder looks up rows
in the transposed weights. The table is then created first; otherwise the weights would stay in
float for the lookup.
"""

import numpy as np
import onnx
from onnx import numpy_helper

from service.quantization.graphs.products import Constants
from service.quantization.recipes.catalogue import PerRow
from service.quantization.recipes.per_row import Rewriting, rewrite


def own_tables(model: onnx.ModelProto) -> None:
    """Replace each transpose of constant weights in which rows are looked up by a separate
    table."""
    graph = model.graph
    constants = Constants(graph, model.ir_version)
    tables = {node.input[0] for node in graph.node if node.op_type == "Gather"}
    found = [
        node
        for node in graph.node
        if node.op_type == "Transpose" and node.output[0] in tables
        if constants.is_matrix(node.input[0])
    ]
    for node in found:
        order = next((each.ints for each in node.attribute if each.name == "perm"), (1, 0))
        table = np.ascontiguousarray(constants.array(node.input[0]).transpose(order))
        graph.initializer.append(numpy_helper.from_array(table, node.output[0]))
        graph.node.remove(node)


def tables_in_eight_bits(model: onnx.ModelProto) -> None:
    """Quantize only the embedding tables."""
    products = frozenset(n.name for n in model.graph.node if n.op_type in ("MatMul", "Gemm"))
    rewrite(model, Rewriting(PerRow(), {}, products))
