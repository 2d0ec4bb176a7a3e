"""Graphs with one layer on integer weights, and the error that rounding its input explains."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import onnx.shape_inference

from tests.targets.tflite.lowering.single_op import Array

OPSET = 21


@dataclass(frozen=True)
class Layer:
    """A layer whose weights ``w`` are dequantized; ``lo`` and ``hi`` are 0 and 6.

    Attributes:
        name: Test id.
        body: Nodes that read ``x``, ``w`` and the float bias ``b``, and make ``y``.
        x: Shape of the input.
        w: Shape of the weights.
        axis: Their axis of outputs.
        outputs: Axis of ``y`` with the outputs of the layer.
        units: Length of the bias.
        bits: Of the weights.
        block: Weights that share a scale along the other axis; 0 for a scale an output.
        slices: False for one scale in all.
        ops: TFLite operators of the dynamic form.
        exact_ops: Those of the exact form.
    """

    name: str
    body: str
    x: Sequence[int | str]
    w: tuple[int, ...]
    axis: int
    units: int
    outputs: int = -1
    bits: int = 8
    block: int = 0
    slices: bool = True
    ops: Mapping[str, int] = field(default_factory=dict)
    exact_ops: Mapping[str, int] = field(default_factory=dict)

    def __str__(self) -> str:
        return self.name


@dataclass(frozen=True)
class BuiltLayer:
    """The graph of a layer, and its weights in float64."""

    model: onnx.ModelProto
    weights: npt.NDArray[np.float64]
    layer: Layer

    def explained(self, x: Array) -> Array:
        """Largest error that 8 bits for ``x`` explain, for each output; broadcasts over ``y``."""
        step = (max(float(x.max()), 0.0) - min(float(x.min()), 0.0)) / 255
        others = tuple(axis for axis in range(self.weights.ndim) if axis != self.layer.axis)
        sums = np.abs(self.weights).sum(axis=others)
        if self.layer.outputs == -1:
            return np.asarray(step * sums)
        repeats = self.layer.units // sums.size
        return np.asarray(step * np.tile(sums, repeats)).reshape(
            -1, *[1] * (len(self.layer.x) - 2)
        )


def build_layer(layer: Layer, seed: int = 3, magnitude: float = 0.3) -> BuiltLayer:
    """The layer with random integers and scales; scales of blocks have 8 binary digits."""
    rng = np.random.default_rng(seed)
    highest = (1 << (layer.bits - 1)) - 1
    integers = rng.integers(-highest, highest + 1, layer.w)
    scale_shape: tuple[int, ...] = ()
    axis = layer.axis
    if layer.block:
        axis = 1 - layer.axis
        scale_shape = tuple(
            size // layer.block if place == axis else size for place, size in enumerate(layer.w)
        )
    elif layer.slices:
        scale_shape = (layer.w[layer.axis],)
    scales = (rng.uniform(0.2, 1.0, scale_shape) * magnitude / highest).astype(np.float32)
    if layer.block:
        scales = scales.astype(ml_dtypes.bfloat16).astype(np.float32)
    bias = rng.uniform(-1, 1, layer.units).astype(np.float32)
    options = f"<axis = {axis}, block_size = {layer.block}>" if layer.block else f"<axis = {axis}>"
    shape = ", ".join(map(str, layer.x))
    model = onnx.parser.parse_model(
        f'<ir_version: 10, opset_import: ["" : {OPSET}]>\n'
        f"main (float[{shape}] x) => (float y) {{\n"
        f"w = DequantizeLinear {options} (q, s, z)\n{layer.body}\n}}"
    )
    kind = onnx.TensorProto.INT4 if layer.bits == 4 else onnx.TensorProto.INT8
    zeros = np.zeros(scales.shape, np.int64)
    model.graph.initializer.extend(
        [
            onnx.helper.make_tensor("q", kind, layer.w, integers.reshape(-1).tolist()),
            onnx.numpy_helper.from_array(np.asarray(scales), "s"),
            onnx.helper.make_tensor("z", kind, zeros.shape, zeros.reshape(-1).tolist()),
            onnx.numpy_helper.from_array(bias, "b"),
            onnx.numpy_helper.from_array(np.array(0, np.float32), "lo"),
            onnx.numpy_helper.from_array(np.array(6, np.float32), "hi"),
        ]
    )
    model.graph.output[0].type.ClearField("value")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    for index, node in enumerate(inferred.graph.node):
        node.name = node.name or f"node_{index}"
    return BuiltLayer(inferred, integers * _spread(layer, scales), layer)


def _spread(layer: Layer, scales: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Scales in a shape that broadcasts over the weights."""
    wide: npt.NDArray[Any] = scales.astype(np.float64)
    if layer.block:
        return np.asarray(np.repeat(wide, layer.block, 1 - layer.axis))
    if not layer.slices:
        return wide
    shape = [1] * len(layer.w)
    shape[layer.axis] = -1
    return wide.reshape(shape)
