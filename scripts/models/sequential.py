"""Turns a trained `nn.Sequential` into ONNX nodes, with batch normalisation folded into weights.

Folding is important not only for speed: a BatchNormalization between Conv and Relu would prevent
ONNX Runtime from fusing the quantized convolution.
"""

import numpy as np
from graph import Graph
from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval


def fold(network: nn.Sequential) -> list[nn.Module]:
    """Return the layers that inference needs, without batch normalisation and dropout."""
    layers: list[nn.Module] = []
    for layer in network.eval():
        if isinstance(layer, nn.BatchNorm2d):
            convolution = layers.pop()
            assert isinstance(convolution, nn.Conv2d), "BatchNorm2d must follow Conv2d"
            layers.append(fuse_conv_bn_eval(convolution, layer))
        elif not isinstance(layer, nn.Dropout):
            layers.append(layer)
    return layers


def append(graph: Graph, network: nn.Sequential, x: str) -> str:
    """Append the network's layers to a graph, starting at tensor `x`. Returns the last tensor."""
    for number, layer in enumerate(fold(network), start=1):
        x = _append(graph, layer, x, f"{_OPS[type(layer)].lower()}{number}")
    return x


_OPS: dict[type[nn.Module], str] = {
    nn.Conv2d: "Conv",
    nn.Linear: "Gemm",
    nn.ReLU: "Relu",
    nn.MaxPool2d: "MaxPool",
    nn.AdaptiveAvgPool2d: "GlobalAveragePool",
    nn.Flatten: "Flatten",
}


def _append(graph: Graph, layer: nn.Module, x: str, to: str) -> str:
    op = _OPS[type(layer)]
    if isinstance(layer, nn.Conv2d):
        inputs = _weights(graph, layer, to)
        pads = [layer.padding[0], layer.padding[1]] * 2
        kernel, strides = list(layer.kernel_size), list(layer.stride)
        return graph.node(op, x, *inputs, to=to, kernel_shape=kernel, pads=pads, strides=strides)
    if isinstance(layer, nn.Linear):
        return graph.node(op, x, *_weights(graph, layer, to), to=to, transB=1)
    if isinstance(layer, nn.MaxPool2d):
        side = layer.kernel_size
        return graph.node(op, x, to=to, kernel_shape=[side, side], strides=[side, side])
    return graph.node(op, x, to=to)


def _weights(graph: Graph, layer: nn.Conv2d | nn.Linear, to: str) -> tuple[str, str]:
    assert layer.bias is not None, "every layer has a bias after batch normalisation is folded"
    weight: np.ndarray = layer.weight.detach().numpy()
    bias: np.ndarray = layer.bias.detach().numpy()
    return graph.constant(f"{to}.weight", weight), graph.constant(f"{to}.bias", bias)
