"""What of the twin belongs to what of the graph."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import onnx_ir as ir
import torch
from torch import Tensor, nn

from edgekit.graph.torch_twin.fake_quantize import BiasQuantize, FakeQuantize
from edgekit.graph.values import Array


@dataclass(frozen=True, slots=True)
class Layout:
    """How an initializer of the graph and parameters of the twin hold the same numbers.

    Attributes:
        name: Two uses of an initializer can share parameters when their layouts' names agree.
        to_torch: The initializer's array to one array a parameter.
        to_onnx: Back.
        restore: The (only) parameter to the initializer's form, as a torch function; None
            where other ops cannot read the parameters.
        channel_axis: Axis of the (only) parameter that an axis of the initializer becomes.
    """

    name: str
    to_torch: Callable[[Array], tuple[Array, ...]]
    to_onnx: Callable[[tuple[Array, ...]], Array]
    restore: Callable[[Tensor], Tensor] | None = None
    channel_axis: Callable[[int], int] = lambda axis: axis


SAME = Layout("same", lambda array: (array,), lambda arrays: arrays[0])
TRANSPOSED = Layout(
    "transposed",
    lambda array: (np.ascontiguousarray(array.T),),
    lambda arrays: np.ascontiguousarray(arrays[0].T),
    torch.t,
    lambda axis: 1 - axis % 2,
)
"""A matrix whose rows and columns are exchanged."""


def flattened(shape: tuple[int, ...]) -> Layout:
    """A vector in the twin that the graph stores with ``shape``, whose other sizes are 1."""
    return Layout(
        f"flattened {shape}",
        lambda array: (array.reshape(-1),),
        lambda arrays: arrays[0].reshape(shape),
        channel_axis=lambda axis: 0,
    )


@dataclass(frozen=True, slots=True)
class Weight:
    """A constant of the graph that is trained.

    Attributes:
        initializer: Name of the initializer that stores it: floats, or integers.
        value: The float value that ops read: the initializer or what dequantizes it.
        array: Its float32 (or other floating-point) array; not to be modified.
        stored: What stores integers as well: the DequantizeLinear; None for floats.
    """

    initializer: str
    value: ir.Value
    array: Array
    stored: ir.Node | None = None


@dataclass(frozen=True, slots=True)
class ParameterBinding:
    """Parameters of the twin that an initializer of the graph stores.

    Attributes:
        initializer: Its name.
        value: Name of the float value that ops read.
        paths: Dotted names of the parameters within the twin's graph module.
        layout: How they hold the initializer's numbers.
        quantizer: Dotted name of the quantizer whose integers the initializer holds; None
            where it holds floats.
        trained: False for a constant that no optimizer changes.
    """

    initializer: str
    value: str
    paths: tuple[str, ...]
    layout: Layout
    quantizer: str | None = None
    trained: bool = True


@dataclass(frozen=True, slots=True)
class QuantizerBinding:
    """The Quantize- and DequantizeLinear nodes that have the parameters of one quantizer.

    Attributes:
        quantizer: Dotted name within the twin's graph module.
        outputs: Name of the first output of each node.
        layout: How the quantizer holds scales that have as many axes as the weights.
    """

    quantizer: str
    outputs: tuple[str, ...]
    layout: Layout = SAME


type Quantizer = FakeQuantize | BiasQuantize


def quantizer_at(root: nn.Module, path: str) -> Quantizer:
    """The quantizer called ``path``."""
    module = root.get_submodule(path)
    if not isinstance(module, (FakeQuantize, BiasQuantize)):
        raise TypeError(f"{path} is a {type(module).__name__}, no quantizer")
    return module
