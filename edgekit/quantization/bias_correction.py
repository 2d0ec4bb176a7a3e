"""Bias correction: takes back the shift of a layer's mean output that rounding its weights made.

M. Nagel, M. van Baalen, T. Blankevoort, M. Welling, "Data-free quantization through weight
equalization and bias correction", ICCV 2019, section 4.2: with ``e = W_q - W``,
``E[W_q x] - E[W x] = E[e x]``, which is measured on calibration data for each output channel
and subtracted from the bias.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np
import numpy.typing as npt
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import Array, add_initializer, int_attribute
from edgekit.quantization.parameters import LayerParameters, QuantParameters, constant_of
from edgekit.quantization.placement import BiasPlacement, LayerPlacement, Placement

_SHIFT = "/shift"
_BIASED = ("Conv", "ConvTranspose", "Gemm")


def give_biases(model: ir.Model) -> ir.Model:
    """A copy in which every Conv, ConvTranspose and Gemm has a bias, zero where it had none."""
    working = ir.from_proto(ir.to_proto(model))
    graph = working.graph
    for node in graph:
        if node.op_type not in _BIASED or (len(node.inputs) > 2 and node.inputs[2] is not None):
            continue
        weight = node.inputs[1]
        if weight is None or weight.const_value is None or weight.dtype != ir.DataType.FLOAT:
            continue
        shape = weight.const_value.shape.numpy()
        if node.op_type == "ConvTranspose":
            channels = shape[1] * int_attribute(node, "group", 1)
        elif node.op_type == "Gemm" and not int_attribute(node, "transB", 0):
            channels = shape[1]
        else:
            channels = shape[0]
        zeros = add_initializer(graph, f"{node.name}/bias", np.zeros(channels, np.float32))
        if len(node.inputs) == 2:
            node.resize_inputs(3)
        node.replace_input_with(2, zeros)
    return working


def correct_biases(
    model: ir.Model,
    placement: Placement,
    parameters: QuantParameters,
    feeds: Iterable[Mapping[str, Array]],
) -> ir.Model:
    """A copy of ``model`` with the corrected float biases; place it anew.

    Only layers with a bias are corrected; see `give_biases`. The inputs of a layer are those
    of the float model, so the shifts of the layers do not depend on each other.

    Args:
        model: Float graph; not modified.
        placement: Which layers are quantized.
        parameters: Their quantized weights.
        feeds: Batches by input name.

    Raises:
        InputError: If there are no batches.
    """
    layers = [layer for layer in placement.layers if layer.bias is not None]
    shifts = _measure(_shift_model(model, layers, parameters.layers), feeds)
    corrected = ir.from_proto(ir.to_proto(model))
    for layer in layers:
        if layer.bias is None:
            continue
        bias = constant_of(model, layer.bias.value).astype(np.float64)
        new = bias - shifts[layer.layer].reshape(bias.shape)
        _set_bias(corrected, layer.bias, new.astype(np.float32))
    return corrected


def _shift_model(
    model: ir.Model, layers: list[LayerPlacement], parameters: Mapping[str, LayerParameters]
) -> ir.Model:
    """The float graph whose outputs are, for each layer, the channel means of ``e x``."""
    working = ir.from_proto(ir.to_proto(model))
    graph = working.graph
    nodes = {node.name: node for node in graph}
    graph.outputs.clear()
    for layer in layers:
        node = nodes[layer.layer]
        exact = constant_of(model, layer.weight).astype(np.float32)
        error = parameters[layer.layer].weight.dequantize() - exact
        weight = add_initializer(graph, f"{layer.layer}/error", error)
        attributes = {name: item.value for name, item in node.attributes.items()}
        result = ir.node(node.op_type, [node.inputs[0], weight], attributes)
        result.outputs[0].name = f"{layer.layer}/error_output"
        rank = len(node.outputs[0].shape or ())
        # Channels are axis 1 of a convolution, and the last axis of a matrix product.
        channel = rank - 1 if layer.op_type in ("Gemm", "MatMul") else 1
        others = np.array([axis for axis in range(rank) if axis != channel], np.int64)
        axes = add_initializer(graph, f"{layer.layer}/axes", others)
        mean = ir.node("ReduceMean", [result.outputs[0], axes], {"keepdims": 0})
        mean.outputs[0].name = f"{layer.layer}{_SHIFT}"
        mean.outputs[0].type = ir.TensorType(ir.DataType.FLOAT)
        mean.outputs[0].shape = ir.Shape([error.shape[layer.axis] * layer.repeats])
        graph.insert_after(node, [result, mean])
        graph.outputs.append(mean.outputs[0])
    return working


def _measure(
    model: ir.Model, feeds: Iterable[Mapping[str, Array]]
) -> dict[str, npt.NDArray[np.float64]]:
    """Mean over all samples of each output, by layer."""
    sums: dict[str, npt.NDArray[np.float64]] = {}
    samples = 0
    with ReferenceSession(model) as session:
        for batch in feeds:
            size = max((array.shape[0] for array in batch.values() if array.ndim), default=1)
            samples += size
            for name, mean in session.run(batch).items():
                total = mean.astype(np.float64) * size
                sums[name] = sums[name] + total if name in sums else total
    if not samples:
        raise InputError("No data to correct biases with: the calibration set is empty")
    return {name.removesuffix(_SHIFT): total / samples for name, total in sums.items()}


def _set_bias(model: ir.Model, bias: BiasPlacement, array: npt.NDArray[np.float32]) -> None:
    """Changes a bias; one that several layers read is copied first, under another name."""
    old = model.graph.initializers[bias.value]
    if len(old.uses()) == 1:
        old.const_value = ir.tensor(array, name=old.name or "")
        return
    own = add_initializer(model.graph, f"{bias.reader.node}/bias", array)
    reader = next(node for node in model.graph if node.name == bias.reader.node)
    reader.replace_input_with(bias.reader.index, own)
