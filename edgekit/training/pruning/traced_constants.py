"""Constants of a twin that have a number a channel, as those of a norm before an activation.

Such a norm cannot be folded into the convolution before it, so the graph multiplies and adds
constants. torch-pruning follows what autograd records, which constants are not part of.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from torch import Tensor, fx, nn

from edgekit.training.pruning.head_labels import data_inputs
from edgekit.training.pruning.reshapes import graph_modules, value_shapes


@contextmanager
def traced_constants(
    module: nn.Module, inputs: Sequence[Tensor]
) -> Iterator[dict[str, nn.Parameter]]:
    """Makes parameters of constants with a number a channel while a network is traced.

    Args:
        module: A twin, or what holds one; of others nothing is changed. Afterwards it has its
            constants again.
        inputs: Arguments of its forward.

    Yields:
        The parameters by dotted name of the constant.
    """
    found: dict[str, tuple[fx.GraphModule, str, Tensor]] = {}
    parameters: dict[str, nn.Parameter] = {}
    for owner, graph_module in graph_modules(module):
        if not any(_is_vector(buffer) for buffer in graph_module.buffers(recurse=False)):
            continue
        shapes = value_shapes(module, graph_module, inputs)
        for path, rank in _channel_vectors(graph_module, shapes).items():
            name = f"{owner}.{path}" if owner else path
            buffer = graph_module.get_buffer(path)
            found[name] = (graph_module, path, buffer)
            # With fewer axes than what it is multiplied with, torch-pruning takes it for other
            # channels behind a concatenation.
            lead = [1] * (rank - buffer.ndim)
            parameters[name] = nn.Parameter(buffer.reshape([*lead, *buffer.shape]).clone())
            delattr(graph_module, path)
            graph_module.register_parameter(path, parameters[name])
    try:
        yield parameters
    finally:
        for graph_module, path, buffer in found.values():
            delattr(graph_module, path)
            graph_module.register_buffer(path, buffer)


def _channel_vectors(
    module: fx.GraphModule, shapes: Mapping[str, tuple[int, ...]]
) -> dict[str, int]:
    """Float constants along axis 1 or the last axis of what reads them, and its rank."""
    buffers = dict(module.named_buffers(recurse=False))
    ranks: dict[str, set[int | None]] = {}
    for node in module.graph.nodes:
        path = str(node.target)
        if node.op == "get_attr" and path in buffers and _is_vector(buffers[path]):
            found = {_rank_along_channels(node, user, shapes) for user in node.users}
            ranks.setdefault(path, set()).update(found)
    alike = {path: next(iter(found)) for path, found in ranks.items() if len(found) == 1}
    return {path: rank for path, rank in alike.items() if rank is not None}


def _is_vector(constant: Tensor) -> bool:
    return constant.is_floating_point() and 1 < constant.numel() == max(constant.shape, default=1)


def _rank_along_channels(
    constant: fx.Node, reader: fx.Node, shapes: Mapping[str, tuple[int, ...]]
) -> int | None:
    """Axes of what a constant is computed with; None where it does not lie along channels."""
    shape, result = shapes.get(constant.name), shapes.get(reader.name)
    if shape is None or result is None or len(result) < max(2, len(shape)):
        return None
    if reader.op != "call_function" or constant not in data_inputs(reader):
        return None
    axis = len(result) - len(shape) + shape.index(max(shape))
    fits = axis in (1, len(result) - 1) and result[axis] == max(shape)
    return len(result) if fits else None
