"""Trained weights and scales back into the ONNX graph."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor

from edgekit.errors import InternalError, UnsupportedError
from edgekit.graph.torch_twin.bindings import ParameterBinding, quantizer_at
from edgekit.graph.torch_twin.fake_quantize import BiasQuantize, FakeQuantize
from edgekit.graph.torch_twin.twin import TorchTwin
from edgekit.graph.values import Array, add_initializer, input_at

_FLOAT_DIGITS = 2.0**-22
"""Relative difference of a float32 product or quotient from the exact one, with reserve."""


def write_back(twin: TorchTwin, model: ir.Model) -> ir.Model:
    """A copy of the graph with the twin's weights, integers, scales and zero points.

    ONNX Runtime computes with the copy what the twin computes. Names and nodes stay; where
    two quantizers that were equal share an initializer and have grown apart, one of them
    gets an initializer of its own.

    Args:
        twin: Made from ``model``, and perhaps trained since; not modified.
        model: Not modified.

    Raises:
        UnsupportedError: If the twin holds NaN or infinity.
        InternalError: If the twin was made from another graph.
    """
    result = ir.from_proto(ir.to_proto(model))
    initializers = result.graph.initializers
    for binding in twin.parameter_bindings:
        if binding.initializer not in initializers:
            raise InternalError(
                f"The twin was built from another graph: there is no initializer "
                f"{binding.initializer!r} in this one"
            )
        if not binding.trained and binding.quantizer is None:
            continue
        value = initializers[binding.initializer]
        if value.const_value is None:
            raise InternalError(f"Initializer {binding.initializer!r} has no data")
        array = _stored_array(twin, binding, value.const_value.numpy())
        old = value.const_value
        if tuple(array.shape) != tuple(old.shape):
            raise InternalError(
                f"The twin was built from another graph: initializer {binding.initializer!r} "
                f"has shape {list(old.shape)} here and {list(array.shape)} there"
            )
        value.const_value = _tensor_like(old, array)
    _write_scales(twin, result.graph)
    return result


def _stored_array(twin: TorchTwin, binding: ParameterBinding, old: Array) -> Array:
    """What the initializer shall hold: floats, or integers of the quantizer."""
    module = twin.graph_module
    parameters = [_tensor_at(twin, path) for path in binding.paths]
    for path, parameter in zip(binding.paths, parameters, strict=True):
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            raise UnsupportedError(
                f"Parameter {path} of the twin holds NaN or infinity; its training diverged. "
                "Lower the learning rate"
            )
    if binding.quantizer is not None:
        quantizer = quantizer_at(module, binding.quantizer)
        parameters = [quantizer.integers(parameter) for parameter in parameters]
    array = binding.layout.to_onnx(tuple(item.detach().cpu().numpy() for item in parameters))
    if binding.quantizer is not None and array.shape == old.shape:
        # A 32-bit bias may have more digits than its float parameter: keep them where the
        # float is the same but for its rounding.
        before, now = old.astype(np.float64), array.astype(np.float64)
        array = np.where(np.abs(now - before) <= np.abs(before) * _FLOAT_DIGITS, old, array)
    return array


def _tensor_at(twin: TorchTwin, path: str) -> Tensor:
    module, _, name = path.rpartition(".")
    tensor: Tensor = getattr(twin.graph_module.get_submodule(module), name)
    return tensor


def _tensor_like(old: ir.TensorProtocol, array: Array) -> ir.TensorProtocol:
    """A tensor of the old one's name and type."""
    typed = np.array(array, dtype=old.dtype.numpy(), order="C")
    return ir.tensor(typed, dtype=old.dtype, name=old.name)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A node and what it shall find at one of its inputs.

    Attributes:
        node: A QuantizeLinear or DequantizeLinear.
        index: 1 for the scale, 2 for the zero point.
        array: Its new numbers.
    """

    node: ir.Node
    index: int
    array: Array


def _write_scales(twin: TorchTwin, graph: ir.Graph) -> None:
    by_output = {node.outputs[0].name: node for node in graph}
    wanted: dict[ir.Value, list[_Wanted]] = {}
    for binding in twin.quantizer_bindings:
        quantizer = quantizer_at(twin.graph_module, binding.quantizer)
        scale, zero_point = (
            binding.layout.to_onnx((item,)) if item.ndim > 1 else item
            for item in _numbers(quantizer)
        )
        for output in binding.outputs:
            node = by_output.get(output)
            if node is None:
                raise InternalError(
                    f"The twin was built from another graph: nothing computes {output!r} here"
                )
            for index, array in ((1, scale), (2, zero_point)):
                value = input_at(node, index)
                if value is not None:
                    wanted.setdefault(value, []).append(_Wanted(node, index, array))
    for value, wishes in wanted.items():
        _write_parameter(graph, value, wishes)


def _numbers(quantizer: FakeQuantize | BiasQuantize) -> tuple[Array, Array]:
    with torch.no_grad():
        if isinstance(quantizer, BiasQuantize):
            scale = quantizer.scale()
            zero_point = torch.zeros_like(scale)
        else:
            scale, zero_point = quantizer.current()
    return scale.detach().cpu().numpy(), zero_point.detach().cpu().numpy()


def _write_parameter(graph: ir.Graph, value: ir.Value, wishes: Iterable[_Wanted]) -> None:
    """Gives an initializer its new numbers, and a new one to whoever wants others."""
    old = value.const_value
    if old is None:
        raise InternalError(f"{value.name!r} is no initializer; canonicalize the graph first")
    first: Array | None = None
    nodes = {(use.node, use.idx) for use in value.uses()}
    wishes = list(wishes)
    if nodes != {(wish.node, wish.index) for wish in wishes}:
        # Somebody else reads it and expects it to stay.
        first = old.numpy()
    for wish in wishes:
        array = np.broadcast_to(wish.array.reshape(-1), old.size).reshape(old.numpy().shape)
        tensor = _tensor_like(old, array)
        if first is None:
            first = tensor.numpy()
            value.const_value = tensor
        elif not np.array_equal(first, tensor.numpy()):
            part = "scale" if wish.index == 1 else "zero_point"
            own = add_initializer(graph, f"{wish.node.outputs[0].name}/{part}", tensor.numpy())
            wish.node.replace_input_with(wish.index, own)
