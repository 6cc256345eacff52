"""Dynamic INT8 with a scale for each row: rows stay independent, so they may be batched.

``onnxruntime.quantization`` supports one scale per tensor only. Here each product becomes

    q, m = the activation in eight bits, and the scale of each of its rows   (``row_scales``)
    y = MatMulIntegerToFloat(q, W8, a_scale=m, b_scale=S * step)
    out = y + low * (sum of each column of W8 * S) + bias

and each embedding table has a scale for each of its rows. The bias is never passed to
MatMulIntegerToFloat: with scales per row, ONNX Runtime multiplies the bias by them too. For the
same reason, the nodes are in an order that ONNX Runtime does not fuse.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import onnx
from onnx import TensorProto, helper

from service.core.tensors import Array
from service.engine.onnx_file.weights import CONSTANTS_APART
from service.quantization.graphs.parts import (
    drop_unread_constants,
    graphs_of,
    names_in,
    opset_of,
)
from service.quantization.graphs.products import (
    Biases,
    Constants,
    Product,
    Table,
    matrix,
    product_of,
    skipped,
    table_of,
)
from service.quantization.graphs.writer import GraphWriter
from service.quantization.recipes.catalogue import PerRow
from service.quantization.recipes.row_scales import Rounded, RowScales

FULL, REDUCED = 127, 64
"""The largest magnitude of 8-bit weights, and of 7-bit weights, whose pairwise sums fit 16 bits."""
WORTH = 32_768
"""An activation is quantized if its products have at least this many weights in total. With fewer,
quantizing takes longer than it saves (measured for 1 to 64 rows of 64 to 768 values)."""
LEAST_TABLE = 4_096
"""Tables with fewer values stay in float."""
LISTED = 3
"""The maximum number of products that a note names."""
MICROSOFT = "com.microsoft"


@dataclass(frozen=True, slots=True)
class Rewriting:
    """Options of a rewriting.

    ``factors``: smoothing factors [K] by activation. ``float_nodes`` stay in float. ``fused``: use
    MatMulIntegerToFloat, if it supports scales per row.
    """

    method: PerRow
    factors: Mapping[str, Array]
    float_nodes: frozenset[str]
    fused: bool = True


def rewrite(model: onnx.ModelProto, how: Rewriting) -> int:
    """Rewrite a model in place. Returns the number of quantized products."""
    taken = names_in(model.graph)
    done = _graph(model.graph, how, opset_of(model), taken, model.ir_version, None)
    if model.ir_version < CONSTANTS_APART:
        _constants_apart(model)
    drop_unread_constants(model.graph)
    if all(each.domain != MICROSOFT for each in model.opset_import):
        model.opset_import.append(helper.make_opsetid(MICROSOFT, 1))
    return done


def note_on(model: onnx.ModelProto) -> str:
    """Return a note on products with weights that stay in float; "" if there are none."""
    found = list(skipped(model.graph.node, Constants(model.graph, model.ir_version)))
    more = f" and {len(found) - LISTED} more" if len(found) > LISTED else ""
    return f"left in float: {'; '.join(found[:LISTED])}{more}" if found else ""


def activations_of(model: onnx.ModelProto) -> dict[str, list[Array]]:
    """Return the activations of the main graph that ``rewrite`` quantizes, with the weights [K, N]
    of the products that read them."""
    constants = Constants(model.graph, model.ir_version)
    worth = _worth(model.graph.node, constants, frozenset())
    return {
        activation: [matrix(product, constants) for product in readers]
        for activation, readers in worth.items()
    }


def _graph(
    graph: onnx.GraphProto, how: Rewriting, opset: int, taken: set[str], ir_version: int,
    around: Constants | None,
) -> int:  # fmt: skip
    constants = Constants(graph, ir_version, around)
    writer = GraphWriter(taken, opset)
    scales = RowScales(graph, constants, writer, how.method.asymmetric, how.factors)
    products = _Products(how, writer, scales, constants)
    worth = _worth(graph.node, constants, how.float_nodes)
    biases = Biases(graph, constants)
    done = 0
    for node in graph.node:
        if biases.taken(node):
            continue
        for inner in graphs_of(node):
            done += _graph(inner, how, opset, taken, ir_version, constants)
        left = node.name in how.float_nodes
        product = None if left else product_of(node, constants)
        table = None if left else table_of(node, constants)
        if product is not None and product.activation in worth:
            products.write(biases.joined(product))
            done += 1
        elif table is not None and constants.size(table.values) >= LEAST_TABLE:
            products.gather(table)
        else:
            writer.keep(node)
    del graph.node[:]
    graph.node.extend(writer.nodes)
    graph.initializer.extend(writer.constants)
    # Remove the shapes of tensors that no longer exist.
    graph.ClearField("value_info")
    return done


def _worth(
    nodes: Sequence[onnx.NodeProto], constants: Constants, float_nodes: frozenset[str]
) -> dict[str, list[Product]]:
    """Return the activations that are worth quantizing, with the products that read them."""
    found: dict[str, list[Product]] = {}
    for node in nodes:
        product = None if node.name in float_nodes else product_of(node, constants)
        if product is not None:
            found.setdefault(product.activation, []).append(product)
    return {
        activation: readers
        for activation, readers in found.items()
        if sum(constants.size(each.weight) for each in readers) >= WORTH
    }


class _Products:
    """Writes quantized products and tables. A shared weight is quantized once."""

    def __init__(
        self, how: Rewriting, writer: GraphWriter, scales: RowScales, constants: Constants
    ) -> None:
        self._how, self._writer, self._scales, self._constants = how, writer, scales, constants
        self._weights: dict[tuple[str, bool, float, str], tuple[str, Array, Array]] = {}
        self._tables: dict[str, tuple[str, str]] = {}

    def write(self, product: Product) -> None:
        """Write a product. Its output keeps its name."""
        writer, x = self._writer, self._scales.rounded(product.activation)
        weight, scale, exact = self._weight(product, x)
        name, terms = product.output, []
        if x.low:
            column = writer.constant(exact.sum(axis=0), f"{name}.column_sums")
            terms.append(writer.node("Mul", [x.low, column], f"{name}.low"))
        lifted = None if x.lift is None else -(np.broadcast_to(x.lift, len(exact)) @ exact)
        terms += self._bias(product, lifted)
        if not terms:
            self._product(x, weight, scale, name, name)
            return
        total = self._product(x, weight, scale, name)
        for term in terms[:-1]:
            total = writer.node("Add", [total, term], f"{name}.shifted")
        writer.write("Add", [total, terms[-1]], name)

    def gather(self, table: Table) -> None:
        """Write a lookup in a table. Its output keeps its name."""
        writer, index, output = self._writer, table.index, table.output
        q, scales = self._table(table.values)
        rows = writer.node("Gather", [q, index], f"{output}.int8")
        numbers = writer.node("Cast", [rows], f"{output}.numbers", to=TensorProto.FLOAT)
        scale = writer.node("Gather", [scales, index], f"{output}.scales")
        writer.write("Mul", [numbers, scale], output)

    def _table(self, values: str) -> tuple[str, str]:
        """Return the names of the quantized table and of its scales [rows, 1]."""
        if values not in self._tables:
            table = self._constants.array(values)
            scale = _scale(np.abs(table).max(axis=1, keepdims=True), FULL)
            q = np.clip(np.rint(table / scale), -FULL, FULL).astype(np.int8)
            rounded = self._writer.constant(q, f"{values}.int8")
            self._tables[values] = rounded, self._writer.constant(scale, f"{values}.row_scales")
        return self._tables[values]

    def _product(self, x: Rounded, weight: str, scale: Array, name: str, result: str = "") -> str:
        """Write the product without bias, to ``result`` if given. Returns its output's name."""
        writer = self._writer
        scales = writer.constant((scale * x.step).astype(np.float32), f"{name}.column_scales")
        result = result or writer.fresh(f"{name}.product")
        if self._how.fused:
            inputs = [x.q, weight, x.scale, scales, x.zero]
            writer.write("MatMulIntegerToFloat", inputs, result, MICROSOFT)
            return result
        sums = writer.node("MatMulInteger", [x.q, weight, x.zero], f"{name}.sums")
        numbers = writer.node("Cast", [sums], f"{name}.numbers", to=TensorProto.FLOAT)
        # ONNX Runtime does not fuse this order of nodes; see the module's docstring.
        even = writer.node("Mul", [numbers, scales], f"{name}.even")
        writer.write("Mul", [even, x.scale], result)
        return result

    def _weight(self, product: Product, x: Rounded) -> tuple[str, Array, Array]:
        """Return the quantized weight's name, its scales [N], and the dequantized weight [K, N]."""
        of = product.activation if x.factors is not None else ""
        key = product.weight, product.transposed, product.alpha, of
        if key not in self._weights:
            values = matrix(product, self._constants)
            if x.factors is not None:
                values = values / x.factors[:, None]
            largest = REDUCED if self._how.method.reduce_range else FULL
            scale = _scale(np.abs(values).max(axis=0), largest)
            q = np.clip(np.rint(values / scale), -largest, largest).astype(np.int8)
            name = self._writer.constant(q, f"{product.weight}.int8")
            self._weights[key] = name, scale, q * scale
        return self._weights[key]

    def _bias(self, product: Product, lifted: Array | None) -> list[str]:
        """Return the names of the terms to add: the bias, and the correction for a lifted
        activation."""
        name, bias = product.output, product.bias if product.beta else ""
        if lifted is not None and (not bias or bias in self._constants):
            own = product.beta * self._constants.array(bias) if bias else 0
            return [self._writer.constant((lifted + own).astype(np.float32), f"{name}.bias")]
        terms = [] if lifted is None else [self._writer.constant(lifted, f"{name}.lift")]
        if bias and product.beta != 1:
            beta = self._writer.constant(np.float32(product.beta), f"{name}.beta")
            bias = self._writer.node("Mul", [bias, beta], f"{name}.bias")
        return [*terms, bias] if bias else terms


def _scale(largest: Array, levels: int) -> Array:
    """Return scales for columns of these magnitudes. They are never 0, since weights are divided by
    them."""
    found: Array = np.maximum(largest / levels, np.finfo(np.float32).tiny).astype(np.float32)
    return found


def _constants_apart(model: onnx.ModelProto) -> None:
    """Remove initializers from the graph's inputs. Sets the IR version to 4, which allows this."""
    constants = {tensor.name for tensor in model.graph.initializer}
    kept = [value for value in model.graph.input if value.name not in constants]
    del model.graph.input[:]
    model.graph.input.extend(kept)
    model.ir_version = CONSTANTS_APART
