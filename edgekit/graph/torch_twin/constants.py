"""Constants of the graph as parameters, buffers and quantizers of the twin."""

from __future__ import annotations

import keyword
import re
from dataclasses import replace

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from edgekit.graph.torch_twin.bindings import (
    SAME,
    Layout,
    ParameterBinding,
    QuantizerBinding,
    Weight,
)
from edgekit.graph.torch_twin.dtypes import LIMITS
from edgekit.graph.torch_twin.fake_quantize import BiasQuantize, FakeQuantize
from edgekit.graph.torch_twin.qdq import Affine, ScaleGroups, find_pair, read_affine
from edgekit.graph.torch_twin.registry import TWIN_OPS
from edgekit.graph.values import Array, constant_array, input_at, is_op

_SCALE_TOLERANCE = 1e-5
"""Relative difference up to which a bias scale counts as the product of its sources."""


class ConstantStore:
    """Holds what the twin's graph module is made of, and how it belongs to the graph.

    Attributes:
        root: Receives parameters, buffers and modules.
        parameter_bindings: In the order of first use.
    """

    def __init__(self, graph: ir.Graph) -> None:
        self.root = nn.Module()
        self.groups = ScaleGroups(graph)
        self.parameter_bindings: list[ParameterBinding] = []
        self._trained = _trained_values(graph)
        self._held: dict[ir.Value, tuple[Layout, tuple[str, ...]]] = {}
        self._weight_quantizers: dict[ir.Value, tuple[FakeQuantize, str]] = {}
        self._bias_quantizers: dict[ir.Value, BiasQuantize | FakeQuantize] = {}
        self._group_quantizers: dict[tuple[object, ...], str] = {}
        self._uses: dict[str, list[str]] = {}
        self._layouts: dict[str, Layout] = {}

    @property
    def quantizer_bindings(self) -> tuple[QuantizerBinding, ...]:
        """Every quantizer with the nodes that it stands for."""
        return tuple(
            QuantizerBinding(path, tuple(dict.fromkeys(outputs)), self._layouts.get(path, SAME))
            for path, outputs in self._uses.items()
        )

    def unique_name(self, wanted: str) -> str:
        """An attribute name like ``wanted`` that the root does not have yet."""
        name = re.sub(r"\W+", "_", wanted, flags=re.ASCII).strip("_") or "layer"
        if name[0].isdigit() or keyword.iskeyword(name):
            name = f"layer_{name}"
        unique, count = name, 1
        while hasattr(self.root, unique):
            unique = f"{name}_{count}"
            count += 1
        return unique

    def weight(self, value: ir.Value | None) -> Weight | None:
        """The constant behind a float value; None when the graph computes it.

        Raises:
            Refusal: If it is quantized in a way that the twin has not.
        """
        if value is None:
            return None
        array = constant_array(value)
        if array is not None:
            return Weight(value.name or "", value, array)
        node = value.producer()
        if not is_op(node, "DequantizeLinear") or node is None:
            return None
        parameters = read_affine(node)
        stored = input_at(node, 0)
        integers = constant_array(stored)
        if parameters is None or stored is None:
            return None
        if integers is not None:
            return Weight(stored.name or "", value, _dequantized(integers, parameters), node)
        quantize = stored.producer()
        source = input_at(quantize, 0) if quantize is not None else None
        floats = constant_array(source)
        if source is None or floats is None or quantize is None or find_pair(quantize) is None:
            return None
        return Weight(source.name or "", value, floats, node)

    def can_hold(self, weight: Weight, layout: Layout) -> bool:
        """False when a constant that the graph uses twice is held in another layout."""
        return weight.value not in self._held or self._held[weight.value][0].name == layout.name

    def leaf_parameters(
        self, weight: Weight, layout: Layout, paths: tuple[str, ...]
    ) -> tuple[nn.Parameter, ...]:
        """Parameters for a layer, called ``paths`` once the layer stands in the root.

        Returns:
            Those of an earlier layer where the graph uses a constant twice.
        """
        if weight.value in self._held:
            _, existing = self._held[weight.value]
            return tuple(self.root.get_parameter(path) for path in existing)
        self._bind(weight, layout, paths, trained=True)
        return tuple(nn.Parameter(_tensor(part)) for part in layout.to_torch(weight.array))

    def constant(self, weight: Weight) -> tuple[str, Layout]:
        """Path of a constant that ops read as a tensor, and how it holds the numbers."""
        if weight.value not in self._held:
            path = self.unique_name(weight.value.name or "constant")
            tensor = _tensor(weight.array)
            trained = weight.value in self._trained and tensor.is_floating_point()
            if trained:
                self.root.register_parameter(path, nn.Parameter(tensor))
            else:
                self.root.register_buffer(path, tensor)
            self._bind(weight, SAME, (path,), trained=trained)
        layout, paths = self._held[weight.value]
        return paths[0], layout

    def weight_quantizer(self, weight: Weight, layout: Layout, path: str) -> FakeQuantize | None:
        """The quantizer of a layer's weights, called ``path`` once the layer is in the root."""
        node = weight.stored
        if node is None:
            return None
        if weight.value not in self._weight_quantizers:
            parameters = _constant_parameters(node)
            axis = None
            if parameters.axis is not None:
                axis = layout.channel_axis(parameters.axis % weight.array.ndim)
            limits = _weight_limits(node, parameters)
            if parameters.block:
                parameters = replace(
                    parameters,
                    scale=layout.to_torch(parameters.scale)[0].astype(np.float32),
                    zero_point=layout.to_torch(parameters.zero_point)[0].astype(np.int64),
                )
                self._layouts[path] = layout
            module = _quantizer(parameters, limits, axis=axis, fixed=False, role="weight")
            self._weight_quantizers[weight.value] = (module, path)
            self._bind_quantizer(weight, path)
            self._use(path, *_nodes_of(node))
        return self._weight_quantizers[weight.value][0]

    def bias_quantizer(
        self, bias: Weight, sources: tuple[FakeQuantize | None, FakeQuantize | None],
        groups: int, path: str,
    ) -> BiasQuantize | FakeQuantize | None:  # fmt: skip
        """The quantizer of a layer's bias, called ``path`` once the layer is in the root.

        It follows the scales of input and weights where the graph does, and is fixed elsewhere.
        """
        node = bias.stored
        if node is None:
            return None
        if bias.value not in self._bias_quantizers:
            self._bias_quantizers[bias.value] = _bias_quantizer(bias, node, sources, groups)
            self._bind_quantizer(bias, path)
            self._use(path, *_nodes_of(node))
        return self._bias_quantizers[bias.value]

    def group_quantizer(self, node: ir.Node, parameters: Affine, name: str) -> str:
        """Path of the quantizer that a Q or DQ node shares with its group."""
        key = (self.groups.group_of(node), *parameters.key)
        if key not in self._group_quantizers:
            path = self.unique_name(f"{name}_quantizer")
            fixed = self.groups.is_fixed(node)
            limits = LIMITS[parameters.dtype]
            module = _quantizer(
                parameters, limits, axis=parameters.axis, fixed=fixed, role="activation"
            )
            self.root.add_module(path, module)
            self._group_quantizers[key] = path
        path = self._group_quantizers[key]
        self._use(path, *_nodes_of(node))
        return path

    def quantizer(self, path: str) -> FakeQuantize:
        """The quantizer at ``path``."""
        module = self.root.get_submodule(path)
        if not isinstance(module, FakeQuantize):
            raise TypeError(f"{path} is no quantizer")
        return module

    def constant_quantizer(self, weight: Weight) -> str | None:
        """Path of the quantizer of a constant that ops read as a tensor; None for floats."""
        if weight.stored is None:
            return None
        if weight.value in self._weight_quantizers:
            return self._weight_quantizers[weight.value][1]
        parameters = _constant_parameters(weight.stored)
        path = self.group_quantizer(weight.stored, parameters, weight.value.name or "constant")
        self._bind_quantizer(weight, path)
        return path

    def _bind(
        self, weight: Weight, layout: Layout, paths: tuple[str, ...], *, trained: bool
    ) -> None:
        self._held[weight.value] = (layout, paths)
        self.parameter_bindings.append(
            ParameterBinding(
                weight.initializer, weight.value.name or "", paths, layout, trained=trained
            )
        )

    def _bind_quantizer(self, weight: Weight, path: str) -> None:
        """Adds the quantizer to the binding of an initializer that holds integers."""
        if weight.stored is None or not is_integer_store(weight.stored):
            return
        for index, binding in enumerate(self.parameter_bindings):
            if binding.value == weight.value.name:
                self.parameter_bindings[index] = ParameterBinding(
                    binding.initializer, binding.value, binding.paths, binding.layout, path,
                    binding.trained,
                )  # fmt: skip

    def _use(self, path: str, *outputs: str) -> None:
        self._uses.setdefault(path, []).extend(outputs)


def is_integer_store(dequantize: ir.Node) -> bool:
    """True when a DequantizeLinear reads integers that the graph stores."""
    return constant_array(input_at(dequantize, 0)) is not None


def _nodes_of(node: ir.Node) -> tuple[str, ...]:
    """First outputs of a node and, where it dequantizes what another quantizes, of that."""
    names = [node.outputs[0].name or ""]
    stored = input_at(node, 0)
    producer = stored.producer() if stored is not None else None
    if is_op(node, "DequantizeLinear") and is_op(producer, "QuantizeLinear") and stored:
        names.append(stored.name or "")
    return tuple(names)


def _trained_values(graph: ir.Graph) -> set[ir.Value]:
    """Values at the places of weights; what is no constant among them does no harm."""
    found: set[ir.Value] = set()
    for node in graph:
        if node.domain == "" and node.op_type in TWIN_OPS:
            values = (input_at(node, index) for index in TWIN_OPS[node.op_type].parameters)
            found.update(value for value in values if value is not None)
    return found


def _constant_parameters(node: ir.Node) -> Affine:
    parameters = read_affine(node)
    if parameters is None:
        raise ValueError(f"the parameters of {node.name!r} are computed")
    return parameters


def _bias_quantizer(
    bias: Weight,
    node: ir.Node,
    sources: tuple[FakeQuantize | None, FakeQuantize | None],
    groups: int,
) -> BiasQuantize | FakeQuantize:
    parameters = _constant_parameters(node)
    activation, weight = sources
    if activation is not None and weight is not None and not parameters.zero_point.any():
        derived = BiasQuantize((activation, weight), groups)
        expected, given = derived.scale().numpy(), parameters.scale.reshape(-1)
        size = bias.array.size
        if np.allclose(
            np.broadcast_to(expected, size), np.broadcast_to(given, size), rtol=_SCALE_TOLERANCE
        ):
            return derived
    axis = None if parameters.axis is None else 0
    limits = LIMITS[parameters.dtype]
    return _quantizer(parameters, limits, axis=axis, fixed=True, role="weight")


def _dequantized(integers: Array, parameters: Affine) -> Array:
    scale, zero_point = parameters.scale, parameters.zero_point
    if parameters.axis is not None and parameters.block:
        scale = np.repeat(scale, parameters.block, axis=parameters.axis)
        zero_point = np.repeat(zero_point, parameters.block, axis=parameters.axis)
    elif parameters.axis is not None:
        shape = [1] * integers.ndim
        shape[parameters.axis] = -1
        scale, zero_point = scale.reshape(shape), zero_point.reshape(shape)
    shifted = integers.astype(np.int64) - zero_point
    floats: Array = shifted.astype(np.float32) * scale
    return floats


def _tensor(array: Array) -> Tensor:
    return torch.from_numpy(np.array(array))


def _weight_limits(node: ir.Node, parameters: Affine) -> tuple[int, int]:
    """Limits without the lowest integer where the graph does without it, too."""
    low, high = LIMITS[parameters.dtype]
    integers = constant_array(input_at(node, 0))
    symmetric = low < 0 and not parameters.zero_point.any()
    if symmetric and integers is not None and int(integers.astype(np.int64).min()) > low:
        low += 1
    return low, high


def _quantizer(
    parameters: Affine, limits: tuple[int, int], *, axis: int | None, fixed: bool, role: str
) -> FakeQuantize:
    return FakeQuantize(
        torch.from_numpy(parameters.scale.copy()),
        torch.from_numpy(parameters.zero_point.astype(np.float32)),
        limits,
        axis=axis,
        block=parameters.block,
        fixed=fixed,
        role=role,
    )
