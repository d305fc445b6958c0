"""The nets as ONNX models, for those that only predict. The models are made in memory."""

from __future__ import annotations

import numpy as np
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper

from harness.nets import LRN, Add, Conv, Dense, Layer, Net, Pool

#: Such as any runtime of the last years reads.
OPSET, IR_VERSION = 13, 8


def model(net: Net, batch: int) -> ModelProto:
    """From the input "data" to the output `net.output`, for minibatches of that size."""
    constants = {f"{name}.{key}": array for name, pair in net.weights().items() for key, array in zip("wb", pair)}
    nodes: list[NodeProto] = []
    x = "data"
    for layer, (inner, outer) in zip(net.layers, net.shapes()):
        x = getattr(layer, "bottom", "") or x
        relu = getattr(layer, "relu", False)
        y = f"{layer.name}.linear" if relu else layer.name
        nodes += operators(layer, x, y, inner, outer, constants)
        if relu:
            nodes.append(helper.make_node("Relu", [y], [layer.name]))
        x = layer.name
    values = [
        helper.make_tensor_value_info(name, TensorProto.FLOAT, [batch, *shape])
        for name, shape in (("data", net.shape), (net.output, net.shapes()[-1][1]))
    ]
    tensors = [numpy_helper.from_array(np.asarray(array, "float32"), name) for name, array in constants.items()]
    graph = helper.make_graph(nodes, "net", values[:1], values[1:], tensors)
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", OPSET)], ir_version=IR_VERSION)
    checker.check_model(made)
    return made


def operators(
    layer: Layer, x: str, y: str, inner: tuple[int, ...], outer: tuple[int, ...], constants: dict[str, np.ndarray]
) -> list[NodeProto]:
    """A layer without its ReLU, from the value x to the value y; LRN's constants are added to the others."""
    name = layer.name
    match layer:
        case Conv():
            sizes = {"kernel_shape": layer.window, "strides": layer.strides, "group": layer.groups}
            inputs = [x, f"{name}.w", f"{name}.b"]
            return [helper.make_node("Conv", inputs, [y], pads=[*layer.pads, *layer.pads], **sizes)]
        case Dense():
            flat = f"{name}.flat"
            product = helper.make_node("Gemm", [flat, f"{name}.w", f"{name}.b"], [y], transB=1)
            return [helper.make_node("Flatten", [x], [flat]), product]
        case Pool():
            kind = "MaxPool" if layer.kind == "max" else "AveragePool"
            pads = [0, 0, *layer.over(inner, outer)]
            return [helper.make_node(kind, [x], [y], kernel_shape=layer.window, strides=layer.strides, pads=pads)]
        case LRN():
            square, mean, scaled, base, factor = (f"{name}.{i}" for i in range(5))
            for key, value in (("scale", layer.scale), ("one", 1.0), ("power", -layer.power)):
                constants[f"{name}.{key}"] = np.array(value, "float32")
            window = {"kernel_shape": [layer.kernel] * 2, "pads": [layer.kernel // 2] * 4, "count_include_pad": 1}
            return [
                helper.make_node("Mul", [x, x], [square]),
                helper.make_node("AveragePool", [square], [mean], **window),
                helper.make_node("Mul", [mean, f"{name}.scale"], [scaled]),
                helper.make_node("Add", [scaled, f"{name}.one"], [base]),
                helper.make_node("Pow", [base, f"{name}.power"], [factor]),
                helper.make_node("Mul", [x, factor], [y]),
            ]
        case Add():
            return [helper.make_node("Add", [x, layer.other], [y])]
