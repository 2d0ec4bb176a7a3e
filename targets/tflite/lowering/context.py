"""State of one lowering: where every ONNX value lies, and what was written so far."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.errors import InternalError
from edgekit.targets.tflite.lowering.flatbuffer import TENSOR_TYPES, FlatbufferModel, Operator
from edgekit.targets.tflite.lowering.fusion import FusedActivation
from edgekit.targets.tflite.lowering.layout import (
    Axes,
    Dim,
    identity,
    moves_data,
    permutation_between,
    stored_shape,
)
from edgekit.targets.tflite.lowering.node_view import Refusal

type Array = npt.NDArray[Any]

_FLOAT16_MAX = 65504.0


@dataclass(frozen=True, slots=True)
class Stored:
    """Where a value lies: the TFLite tensor and the order of its axes."""

    tensor: int
    axes: Axes


@dataclass(slots=True)
class LoweringContext:
    """Everything an operator's lowering reads and writes.

    Attributes:
        model: The flatbuffer under construction.
        weights_dtype: Type in which large float constants are stored.
        fused: Activation that an operator takes over, by node.
        notes: Reasons for the report.
        non_negative: Values known to be at least 0, so that zero padding cannot win a maximum.
        feature_order: For a flattened value whose features lie in another order than ONNX
            has them: ONNX feature index of each stored feature.
    """

    model: FlatbufferModel
    weights_dtype: Literal["float32", "float16"] = "float32"
    fused: Mapping[ir.Node, FusedActivation] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    non_negative: set[ir.Value] = field(default_factory=set)
    feature_order: dict[ir.Value, npt.NDArray[np.int64]] = field(default_factory=dict)
    _stored: dict[ir.Value, list[Stored]] = field(default_factory=dict)
    _constants: dict[tuple[str, tuple[int, ...], bytes, bool], int] = field(default_factory=dict)

    # -- reading the graph ---------------------------------------------------------------

    def shape(self, value: ir.Value) -> tuple[Dim, ...]:
        """Logical shape; symbolic dims as strings. Refuses a value of unknown shape."""
        if value.shape is None:
            raise Refusal(
                f"the shape of {value.name!r} is unknown", "shapes that inference can find"
            )
        dims: list[Dim] = []
        for dim in value.shape:
            if isinstance(dim, int):
                dims.append(dim)
            elif dim.value is not None:
                dims.append(dim.value)
            else:
                raise Refusal(
                    f"the shape of {value.name!r} has an unnamed unknown dim",
                    "static shapes, with at most a symbolic batch",
                )
        return tuple(dims)

    def static_shape(self, value: ir.Value) -> tuple[int, ...]:
        """Logical shape, refusing symbolic dims."""
        dims = []
        for dim in self.shape(value):
            if isinstance(dim, str):
                raise Refusal(f"the shape of {value.name!r} is dynamic here", "a static shape")
            dims.append(dim)
        return tuple(dims)

    def rank(self, value: ir.Value) -> int:
        """Number of axes."""
        return len(self.shape(value))

    def dtype(self, value: ir.Value) -> str:
        """NumPy name of the element type; refuses types TFLite has no tensor for."""
        if value.dtype is None:
            raise Refusal(f"the type of {value.name!r} is unknown")
        name = value.dtype.numpy().name
        if name not in TENSOR_TYPES:
            raise Refusal(
                f"{value.name!r} has type {name}", f"types {', '.join(sorted(TENSOR_TYPES))}"
            )
        return name

    def constant(self, value: ir.Value | None) -> Array | None:
        """Content of an initializer, or None for an activation."""
        if value is None or value.const_value is None:
            return None
        return np.asarray(value.const_value.numpy())

    def required_constant(self, value: ir.Value, role: str) -> Array:
        """Content of an initializer; refuses an activation in that role."""
        array = self.constant(value)
        if array is None:
            raise Refusal(f"{role} {value.name!r} is computed at run time", f"a constant {role}")
        return array

    def fused_activation(self, node: ir.Node) -> tuple[int, ir.Value]:
        """The activation code to write into the operator, and the value it then produces."""
        activation = self.fused.get(node)
        if activation is None:
            return schema.ActivationFunctionType.NONE, node.outputs[0]
        result = activation.node.outputs[0]
        if activation.code != schema.ActivationFunctionType.RELU_N1_TO_1:
            self.non_negative.add(result)
        return activation.code, result

    # -- placing values ------------------------------------------------------------------

    def bind(self, value: ir.Value, tensor: int, axes: Axes) -> None:
        """Says that ``value`` lies in ``tensor`` in that order."""
        self._stored.setdefault(value, []).append(Stored(tensor, axes))

    def stored(self, value: ir.Value) -> Stored:
        """Where ``value`` was placed first; constants are placed in logical order."""
        places = self._stored.get(value)
        if places:
            return places[0]
        array = self.constant(value)
        if array is None:
            raise InternalError(f"value {value.name!r} is used before it is lowered")
        axes = identity(array.ndim)
        return Stored(self.weight(array, value.name or "constant"), axes)

    def axes(self, value: ir.Value) -> Axes:
        """Present storage order of a value."""
        if self.constant(value) is not None:
            return identity(self.rank(value))
        return self.stored(value).axes

    def tensor(self, value: ir.Value, axes: Axes | None = None) -> int:
        """Tensor of ``value`` stored in the order ``axes``, transposing if it must.

        Args:
            value: An activation or a constant.
            axes: Wanted order; None takes it as it lies.
        """
        if value in self.feature_order:
            raise InternalError(f"{value.name!r} lies in a permuted order no reader expects")
        array = self.constant(value)
        if array is not None:
            wanted = identity(array.ndim) if axes is None else axes
            return self.weight(array.transpose(wanted), value.name or "constant")
        first = self.stored(value)
        if axes is None:
            return first.tensor
        for place in self._stored[value]:
            if place.axes == axes:
                return place.tensor
        tensor = self._reordered(value, first, axes)
        self.bind(value, tensor, axes)
        return tensor

    def _reordered(self, value: ir.Value, place: Stored, axes: Axes) -> int:
        shape = self.shape(value)
        target_shape = stored_shape(shape, axes)
        name = f"{self.model.name_of(place.tensor)}/as_{'_'.join(map(str, axes))}"
        if not moves_data(shape, place.axes, axes):
            return self.reshape(place.tensor, target_shape, self.dtype(value), name)
        permutation = self.constant_tensor(
            np.array(permutation_between(place.axes, axes), np.int32), f"{name}/permutation"
        )
        version = 4 if len(axes) > 4 else 1
        operator = Operator("TRANSPOSE", schema.TransposeOptionsT(), version)
        return self.step(
            operator, [place.tensor, permutation], target_shape, self.dtype(value), name
        )

    # -- writing -------------------------------------------------------------------------

    def constant_tensor(self, array: Array, name: str) -> int:
        """A constant as it is; int64 becomes int32, the index type of TFLite's kernels."""
        if array.dtype == np.int64:
            if array.size and np.abs(array).max() > np.iinfo(np.int32).max:
                raise Refusal(f"constant {name!r} does not fit int32")
            array = array.astype(np.int32)
        return self._memoized(array, name, half=False)

    def weight(self, array: Array, name: str) -> int:
        """A float constant in the weight type of this lowering; others as they are.

        With float16 weights the tensor is stored in half precision and a DEQUANTIZE restores
        float32, which XNNPACK folds away when it loads the model.
        """
        if self.weights_dtype != "float16" or array.dtype != np.float32 or array.size <= 1:
            return self.constant_tensor(array, name)
        if np.abs(array).max() > _FLOAT16_MAX:
            self.notes.append(f"weight {name!r} exceeds the range of float16 and stays float32")
            return self.constant_tensor(array, name)
        return self._memoized(array, name, half=True)

    def _memoized(self, array: Array, name: str, *, half: bool) -> int:
        content = hashlib.sha256(np.ascontiguousarray(array).tobytes()).digest()
        key = (array.dtype.name, array.shape, content, half)
        known = self._constants.get(key)
        if known is not None:
            return known
        if half:
            stored = self.model.add_tensor(
                f"{name}/float16", array.shape, "float16", array.astype(np.float16)
            )
            operator = Operator("DEQUANTIZE", schema.DequantizeOptionsT(), 3)
            tensor = self.step(operator, [stored], array.shape, "float32", name)
        else:
            tensor = self.model.add_tensor(name, array.shape, array.dtype.name, array)
        self._constants[key] = tensor
        return tensor

    def step(
        self,
        operator: Operator,
        inputs: Sequence[int],
        shape: Sequence[Dim],
        dtype: str,
        name: str,
    ) -> int:
        """Writes an operator with one output that no ONNX value stands for."""
        output = self.model.add_tensor(name, shape, dtype)
        self.model.add_operator(operator, inputs, [output])
        return output

    def result(
        self, value: ir.Value, operator: Operator, inputs: Sequence[int], axes: Axes
    ) -> int:
        """Writes an operator whose output is ``value``, stored in the order ``axes``."""
        tensor = self.step(
            operator,
            inputs,
            stored_shape(self.shape(value), axes),
            self.dtype(value),
            value.name or "value",
        )
        self.bind(value, tensor, axes)
        return tensor

    def reshape(self, tensor: int, shape: Sequence[Dim], dtype: str, name: str) -> int:
        """Writes a RESHAPE to a stored shape; a symbolic dim becomes -1."""
        target = [-1 if isinstance(dim, str) else dim for dim in shape]
        if target.count(-1) > 1:
            raise Refusal("a reshape to more than one dynamic dim", "one dynamic dim, the batch")
        options = schema.ReshapeOptionsT()
        options.newShape = target
        shape_tensor = self.constant_tensor(np.array(target, np.int32), f"{name}/shape")
        return self.step(Operator("RESHAPE", options), [tensor, shape_tensor], shape, dtype, name)


type Lowering = Callable[[LoweringContext, ir.Node], None]
