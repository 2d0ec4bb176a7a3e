"""A pruned twin back into an ONNX graph, whose sizes change."""

from __future__ import annotations

import math

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from edgekit.errors import InternalError, UnsupportedError, VerificationError
from edgekit.graph.equivalence import TOLERANCE, difference, random_feeds
from edgekit.graph.passes.infer_shapes import InferShapes
from edgekit.graph.passes.remove_dead import RemoveDead
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.torch_twin import TorchTwin
from edgekit.graph.torch_twin.bindings import ParameterBinding
from edgekit.graph.values import (
    Array,
    add_initializer,
    constant_ints,
    input_at,
    int_attribute,
    is_op,
)
from edgekit.training.pruning.separate_constants import join_constants
from edgekit.training.pruning.stated_sizes import write_sizes

_CHECK_BATCH = 2


def write_pruned(twin: TorchTwin, model: ir.Model) -> ir.Model:
    """A copy of the graph with the channels and weights that the twin has left.

    Names and nodes stay; initializers, the groups of depthwise convolutions, reshapes that
    only flatten, sizes that the twin states anew, and shapes change. Equal floats are stored
    once. The copy is run and compared with the twin.

    Args:
        twin: Made from ``model`` and pruned since; not modified.
        model: A canonical float graph; not modified.

    Raises:
        UnsupportedError: If the graph is quantized, or the twin holds NaN or infinity.
        VerificationError: If ONNX Runtime computes something else with the copy.
    """
    if twin.quantizers():
        raise UnsupportedError(
            "A quantized graph cannot be pruned: its scales belong to channels that go. Prune "
            "the float graph, and quantize it afterwards"
        )
    result = ir.from_proto(ir.to_proto(model))
    for binding in twin.parameter_bindings:
        value = result.graph.initializers.get(binding.initializer)
        if value is None or value.const_value is None:
            raise InternalError(
                f"The twin was built from another graph: there is no initializer "
                f"{binding.initializer!r} in this one"
            )
        old = value.const_value
        array = _array(twin, binding, old.numpy())
        tensor = ir.tensor(np.array(array, dtype=old.dtype.numpy(), order="C"), name=old.name)
        value.const_value, value.shape = tensor, ir.Shape(array.shape)
    _write_groups(twin, result.graph)
    write_sizes(twin.graph_module.graph, result.graph)
    _free_reshapes(result.graph)
    RemoveDead()(result)  # computed sizes that are numbers now
    join_constants(result)
    outputs = set(result.graph.outputs)
    for node in result.graph:
        for value in node.outputs:
            if value not in outputs:
                value.shape = None
    InferShapes()(result)
    _verify(twin, result)
    return result


def _array(twin: TorchTwin, binding: ParameterBinding, old: Array) -> Array:
    parameters = [_tensor_at(twin.graph_module, path) for path in binding.paths]
    for path, parameter in zip(binding.paths, parameters, strict=True):
        if parameter.is_floating_point() and not bool(torch.isfinite(parameter).all()):
            raise UnsupportedError(
                f"Parameter {path} of the twin holds NaN or infinity; its training diverged. "
                "Lower the learning rate"
            )
    arrays = tuple(item.detach().cpu().numpy() for item in parameters)
    if len(arrays) == 1 and arrays[0].ndim == 1 and old.ndim != 1:
        # A vector that the graph stores with axes of size 1: their place stays.
        shape = tuple(-1 if size != 1 else 1 for size in old.shape)
        return arrays[0].reshape(shape if -1 in shape else old.shape)
    return binding.layout.to_onnx(arrays)


def _tensor_at(root: nn.Module, path: str) -> Tensor:
    module, _, name = path.rpartition(".")
    tensor: Tensor = getattr(root.get_submodule(module), name)
    return tensor


def _write_groups(twin: TorchTwin, graph: ir.Graph) -> None:
    for node in graph:
        if not is_op(node, "Conv", "ConvTranspose") or node.name not in twin.layers:
            continue
        layer = twin.graph_module.get_submodule(twin.layers[node.name])
        groups = getattr(layer, "groups", 1)
        if "group" in node.attributes or groups != 1:
            node.attributes["group"] = ir.AttrInt64("group", groups)


def _free_reshapes(graph: ir.Graph) -> None:
    """As `reshapes.free_reshapes`: a reshape to ``[N, C * H * W]`` follows the channels."""
    for node in list(graph):
        source = input_at(node, 0)
        sizes = constant_ints(input_at(node, 1)) if is_op(node, "Reshape") else None
        if sizes is None or len(sizes) != 2 or source is None or source.shape is None:
            continue
        if int_attribute(node, "allowzero", 0) and 0 in sizes:
            continue  # there 0 is a size, and not the source's
        dims = tuple(source.shape)
        inner = [dim for dim in dims[1:] if isinstance(dim, int)]
        if len(inner) != len(dims) - 1 or sizes[1] != math.prod(inner):
            continue
        rows = sizes[0] if sizes[0] in (-1, 0) or sizes[0] != dims[0] else 0
        free = np.array([0 if rows == -1 else rows, -1], np.int64)
        node.replace_input_with(1, add_initializer(graph, f"{node.name}/sizes", free))
        node.attributes.pop("allowzero", None)


def _verify(twin: TorchTwin, model: ir.Model) -> None:
    feeds = random_feeds(twin.signature.inputs, batch=_CHECK_BATCH)
    wanted = twin.run(feeds)
    found = ReferenceSession(model).run(feeds)
    for name, array in wanted.items():
        error = difference(name, array, found[name])
        if not error.relative <= TOLERANCE:
            raise VerificationError(
                f"Output {name!r} of the pruned graph differs from that of the pruned twin by "
                f"{error.max_abs:.3g} ({error.relative:.3g} of its range); please report it"
            )
