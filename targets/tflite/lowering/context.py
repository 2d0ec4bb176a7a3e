"""State of one lowering: where every ONNX value lies, and what was written so far."""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
from ai_edge_litert import schema_py_generated as schema

from edgekit.core.target import WeightCompute
from edgekit.errors import InternalError
from edgekit.graph.node_view import Refusal
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
from edgekit.targets.tflite.lowering.line_images import image_axes, image_dims, line_axes
from edgekit.targets.tflite.lowering.quantization import (
    FLOAT32,
    Parameter,
    QuantizedValues,
    TensorType,
    dequantized,
)
from edgekit.targets.tflite.lowering.weight_only import WEIGHT_TYPES, runnable

type Array = npt.NDArray[Any]

_FLOAT16_MAX = 65504.0
_MAX_PLAIN_TRANSPOSE_RANK = 4
_BIG_TRANSPOSE_VERSION = 4
IMAGE_RANK = 4


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
        weight_compute: How operators on float activations compute with integer weights.
        biases: Addition of a constant that a MatMul takes over, by node.
        reasons: Why preparation left a node as it is, by the node's name.
        quantized: What the Q/DQ nodes say about the values.
        integer_normalization: Whether LayerNormalization between integers computes on them.
        integer: Whether the node being lowered computes on integers.
        reason: Why it does not; empty where it does.
        stated_reasons: Why a node is to compute in float, by its name, as the graph says.
        float_reasons: Why an operator of a quantized graph computes in float, by a tensor that
            it writes.
        as_images: Whether that node sees values ``[N, C, L]`` as images ``[N, C, 1, L]``.
        notes: Reasons for the report.
        non_negative: Values known to be at least 0, so that zero padding cannot win a maximum.
        feature_order: For a flattened value whose features lie in another order than ONNX
            has them: ONNX feature index of each stored feature.
        origins: The value that each tensor was made for, and the order it is stored in.
        integer_weights: Content of the tensors of 4-bit and 8-bit weights.
        sparse: Layers whose weights are stored without their zeros.
        dynamic: Layers with float activations whose kernel computes on the integers.
        restored: Layers whose weights a DEQUANTIZE restores, by the reason; no reason where it
            was wished.
    """

    model: FlatbufferModel
    weights_dtype: Literal["float32", "float16"] = "float32"
    weight_compute: WeightCompute = "exact"
    fused: Mapping[ir.Node, FusedActivation] = field(default_factory=dict)
    biases: Mapping[ir.Node, ir.Node] = field(default_factory=dict)
    reasons: Mapping[str, str] = field(default_factory=dict)
    quantized: QuantizedValues = field(default_factory=QuantizedValues)
    integer_normalization: bool = True
    integer: bool = False
    reason: str = ""
    stated_reasons: Mapping[str, str] = field(default_factory=dict)
    float_reasons: dict[int, str] = field(default_factory=dict)
    as_images: bool = False
    notes: list[str] = field(default_factory=list)
    non_negative: set[ir.Value] = field(default_factory=set)
    feature_order: dict[ir.Value, npt.NDArray[np.int64]] = field(default_factory=dict)
    origins: dict[int, tuple[ir.Value, Axes]] = field(default_factory=dict)
    integer_weights: dict[int, Parameter] = field(default_factory=dict)
    sparse: int = 0
    dynamic: int = 0
    restored: Counter[str] = field(default_factory=Counter)
    _stored: dict[ir.Value, list[Stored]] = field(default_factory=dict)
    _images: dict[ir.Value, list[Stored]] = field(default_factory=dict)
    _reshape_sources: dict[int, int] = field(default_factory=dict)
    _constants: dict[tuple[object, ...], int] = field(default_factory=dict)

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
        return image_dims(tuple(dims)) if self.as_images else tuple(dims)

    def rank(self, value: ir.Value) -> int:
        """Number of axes."""
        return len(self.shape(value))

    def dtype(self, value: ir.Value) -> str:
        """NumPy name of the ONNX element type; refuses types TFLite has no tensor for."""
        if value.dtype is None:
            raise Refusal(f"the type of {value.name!r} is unknown")
        name = value.dtype.numpy().name
        if name not in TENSOR_TYPES:
            raise Refusal(
                f"{value.name!r} has type {name}", f"types {', '.join(sorted(TENSOR_TYPES))}"
            )
        return name

    def constant(self, value: ir.Value | None) -> Array | None:
        """Content of an initializer (dequantized if need be), or None for an activation."""
        if value is None:
            return None
        parameter = self.quantized.constants.get(value)
        if parameter is not None:
            return dequantized(parameter)
        return None if value.const_value is None else np.asarray(value.const_value.numpy())

    def required_constant(self, value: ir.Value, role: str) -> Array:
        """Content of an initializer; refuses an activation in that role."""
        array = self.constant(value)
        if array is None:
            raise Refusal(f"{role} {value.name!r} is computed at run time", f"a constant {role}")
        return array

    def parameter(self, value: ir.Value, role: str) -> Parameter:
        """A constant operand as this node computes with it: integers or floats.

        Raises:
            Refusal: If it is computed at run time, or is not quantized where the node's other
                operands are.
        """
        if not self.integer:
            array = self.required_constant(value, role)
            return Parameter(array, TensorType(array.dtype.name))
        parameter = self.quantized.constants.get(value)
        if parameter is None:
            raise Refusal(
                f"{role} {value.name!r} is not quantized, but the node's input and output are",
                f"a constant {role} behind DequantizeLinear",
            )
        return parameter

    def fused_activation(self, node: ir.Node) -> tuple[int, ir.Value]:
        """The activation code to write into the operator, and the value it then produces."""
        last = self.biases.get(node, node)
        activation = self.fused.get(last)
        if activation is None:
            return schema.ActivationFunctionType.NONE, last.outputs[0]
        result = activation.node.outputs[0]
        if activation.code != schema.ActivationFunctionType.RELU_N1_TO_1:
            self.non_negative.add(result)
        return activation.code, result

    # -- types ---------------------------------------------------------------------------

    def compute_in_float(self, reason: str) -> None:
        """Lets the node being lowered compute in float, between a DEQUANTIZE and a QUANTIZE.

        Args:
            reason: Why, where it could have computed on integers.
        """
        if self.integer:
            self.integer, self.reason = False, reason

    def type_of(self, value: ir.Value) -> TensorType:
        """Type in which this node reads ``value``."""
        integers = self.quantized.integers.get(value)
        if integers is not None:
            return integers
        if not self.integer:
            return TensorType(self.dtype(value))
        parameter = self.quantized.constants.get(value)
        if parameter is not None:
            return parameter.type
        return self.quantized.activations.get(value, TensorType(self.dtype(value)))

    # -- placing values ------------------------------------------------------------------

    def bind(self, value: ir.Value, tensor: int, axes: Axes) -> None:
        """Says that ``value`` lies in ``tensor`` in that order."""
        image = self.as_images and len(axes) == IMAGE_RANK
        (self._images if image else self._stored).setdefault(value, []).append(
            Stored(tensor, axes)
        )
        present = self.model.type_of(tensor)
        stated = self.quantized.activations.get(value, present)
        # Integers of another scale are on their way to those that the graph states.
        passing = present.quantization is not None and present != stated
        if value not in self.feature_order and not passing:
            self.origins.setdefault(tensor, (value, line_axes(axes) if image else axes))

    def is_image(self, value: ir.Value) -> bool:
        """Whether a value ``[N, C, L]`` lies in a tensor ``[N, 1, L, C]``."""
        return value in self._images

    def is_placed(self, value: ir.Value) -> bool:
        """Whether a value lies in a tensor."""
        return value in self._stored or value in self._images

    def places(self, value: ir.Value) -> tuple[Stored, ...]:
        """All tensors in which ``value`` lies as the node sees it, integer ones included.

        A value ``[N, C, L]`` that lies as an image only, or only as it is, is reshaped first.
        """
        here, there = self._stored, self._images
        if self.as_images:
            here, there = there, here
        if value not in here and value in there:
            self._reshaped(value, there[value])
        return tuple(here.get(value, ()))

    def axes(self, value: ir.Value) -> Axes:
        """Present storage order of a value; constants have the logical one."""
        places = self.places(value)
        return places[0].axes if places else identity(self.rank(value))

    def tensor(self, value: ir.Value, axes: Axes | None = None) -> int:
        """Tensor of ``value`` stored in the order ``axes``, transposing if it must.

        Args:
            value: An activation or a constant.
            axes: Wanted order; None takes it as it lies.
        """
        if value in self.feature_order:
            raise InternalError(f"{value.name!r} lies in a permuted order no reader expects")
        places = self.places(value)
        if not places:
            return self._constant_operand(value, axes)
        wanted = places[0].axes if axes is None else axes
        wanted_type = self.type_of(value)
        fitting = [p for p in places if self._type(p) == wanted_type]
        for place in fitting:
            if place.axes == wanted:
                return place.tensor
        integers = next((p for p in places if self._type(p).quantization is not None), None)
        if wanted_type.quantization is None and integers is not None:
            return self._dequantized(value, integers, wanted).tensor
        if not fitting:
            raise InternalError(f"{value.name!r} has no tensor of type {wanted_type}")
        nearest = min(fitting, key=lambda place: place.axes[-1:] != wanted[-1:])
        tensor = self._reordered(value, nearest, wanted)
        self.bind(value, tensor, wanted)
        return tensor

    def flattened(self, value: ir.Value) -> int:
        """Tensor ``[N, F]`` of a flattened value whose features may lie in a permuted order."""
        order = self.feature_order.pop(value, None)
        tensor = self.tensor(value, identity(self.rank(value)))
        if order is not None:
            self.feature_order[value] = order
        return tensor

    def _type(self, place: Stored) -> TensorType:
        return self.model.type_of(place.tensor)

    def _constant_operand(self, value: ir.Value, axes: Axes | None) -> int:
        if self.constant(value) is None:
            raise InternalError(f"value {value.name!r} is used before it is lowered")
        parameter = self.parameter(value, "operand")
        order = identity(parameter.array.ndim) if axes is None else axes
        moved = parameter.rearranged(
            lambda array: array.transpose(order), _position(parameter, order)
        )
        return self.operand(moved, value.name or "constant")

    def _dequantized(self, value: ir.Value, place: Stored, axes: Axes) -> Stored:
        """A float copy of a quantized activation, for a node that computes in float.

        The integers are brought into order, not the floats: less to move, and nothing in float.
        """
        if place.axes != axes:
            place = Stored(self._reordered(value, place, axes), axes)
            self.bind(value, place.tensor, axes)
        name = f"{self.model.name_of(place.tensor)}/float32"
        shape = stored_shape(self.shape(value), place.axes)
        operator = Operator("DEQUANTIZE", schema.DequantizeOptionsT(), 2)
        made = Stored(self.step(operator, [place.tensor], shape, FLOAT32, name), place.axes)
        self.bind(value, made.tensor, made.axes)
        return made

    def _reshaped(self, value: ir.Value, places: Sequence[Stored]) -> None:
        """Lets a value lie as an image, or no more as one, as the node being lowered sees it."""
        wanted = self.type_of(value)
        place = next((p for p in places if self._type(p) == wanted), places[0])
        axes = image_axes(place.axes) if self.as_images else line_axes(place.axes)
        name = f"{self.model.name_of(place.tensor)}/{'image' if self.as_images else 'line'}"
        shape = stored_shape(self.shape(value), axes)
        self.bind(value, self.reshape(place.tensor, shape, self._type(place), name), axes)

    def _reordered(self, value: ir.Value, place: Stored, axes: Axes) -> int:
        shape, tensor_type = self.shape(value), self._type(place)
        target_shape = stored_shape(shape, axes)
        name = f"{self.model.name_of(place.tensor)}/as_{'_'.join(map(str, axes))}"
        if not moves_data(shape, place.axes, axes):
            return self.reshape(place.tensor, target_shape, tensor_type, name)
        permutation = self.index_tensor(
            np.array(permutation_between(place.axes, axes), np.int32), f"{name}/permutation"
        )
        big = len(axes) > _MAX_PLAIN_TRANSPOSE_RANK
        operator = Operator(
            "TRANSPOSE", schema.TransposeOptionsT(), _BIG_TRANSPOSE_VERSION if big else 1
        )
        return self.step(operator, [place.tensor, permutation], target_shape, tensor_type, name)

    # -- writing -------------------------------------------------------------------------

    def index_tensor(self, array: Array, name: str) -> int:
        """A constant of shapes, axes or indices; int64 becomes int32, as kernels expect."""
        if array.dtype == np.int64:
            if array.size and np.abs(array).max() > np.iinfo(np.int32).max:
                raise Refusal(f"constant {name!r} does not fit int32")
            array = array.astype(np.int32)
        return self._memoized(Parameter(array, TensorType(array.dtype.name)), name)

    def scalar(self, number: float, name: str) -> int:
        """A float32 constant of rank 0."""
        return self._memoized(Parameter(np.array(number, np.float32), FLOAT32), name)

    def operand(self, parameter: Parameter, name: str) -> int:
        """Any other constant, as it is.

        It stays float32 whatever the weight type: XNNPACK does not take an elementwise operator
        whose constant a DEQUANTIZE restores.
        """
        if parameter.array.dtype == np.int64:
            return self.index_tensor(parameter.array, name)
        return self._memoized(parameter, name)

    def weight(self, parameter: Parameter, name: str) -> int:
        """Weights or a bias; floats in the weight type of this lowering.

        With float16 weights the tensor is stored in half precision and a DEQUANTIZE restores
        float32, which XNNPACK folds away when it loads the model.
        """
        array = parameter.array
        if self.weights_dtype != "float16" or array.dtype != np.float32 or array.size <= 1:
            return self._memoized(parameter, name)
        if np.abs(array).max() > _FLOAT16_MAX:
            self.notes.append(f"weight {name!r} exceeds the range of float16 and stays float32")
            return self._memoized(parameter, name)
        halves = Parameter(array.astype(np.float16), TensorType("float16"))
        stored = self._memoized(halves, f"{name}/float16")
        operator = Operator("DEQUANTIZE", schema.DequantizeOptionsT(), 3)
        return self.constant_step(operator, stored, array.shape, name)

    def constant_step(
        self, operator: Operator, stored: int, shape: Sequence[int], name: str
    ) -> int:
        """The float32 tensor that an operator makes of a constant; written once for all."""
        key = (operator.name, stored)
        if key not in self._constants:
            self._constants[key] = self.step(operator, [stored], shape, FLOAT32, name)
        return self._constants[key]

    def _memoized(self, parameter: Parameter, name: str) -> int:
        array = np.ascontiguousarray(parameter.array).reshape(parameter.array.shape)
        # Equal constants of other names share their bytes, yet each can be found by its name.
        key = (name, parameter.type, array.shape, hashlib.sha256(array.tobytes()).digest())
        if key not in self._constants:
            tensor = self.model.add_tensor(name, array.shape, parameter.type, array)
            self._constants[key] = tensor
            if parameter.type.dtype in WEIGHT_TYPES:
                self.integer_weights[tensor] = parameter
        return self._constants[key]

    def step(
        self,
        operator: Operator,
        inputs: Sequence[int],
        shape: Sequence[Dim],
        tensor_type: TensorType,
        name: str,
    ) -> int:
        """Writes an operator with one output that no ONNX value stands for."""
        form = runnable(self, operator, inputs)
        output = self.model.add_tensor(name, shape, tensor_type)
        made = output
        if form.activation:
            made = self.model.add_tensor(f"{name}/unclamped", shape, tensor_type)
        self.model.add_operator(form.operator, form.inputs, [made])
        if form.activation:
            self.model.add_operator(Operator(form.activation), [made], [output])
        return output

    def result(
        self,
        value: ir.Value,
        operator: Operator,
        inputs: Sequence[int],
        axes: Axes,
        tensor_type: TensorType | None = None,
    ) -> int:
        """Writes an operator whose output is ``value``, stored in the order ``axes``.

        Args:
            value: The ONNX value.
            operator: What computes it.
            inputs: Tensors it reads.
            axes: Storage order of the output.
            tensor_type: Type the kernel gives, where it does not take the one that the graph
                asks for; a QUANTIZE then follows.
        """
        tensor = self.step(
            operator,
            inputs,
            stored_shape(self.shape(value), axes),
            tensor_type or self.type_of(value),
            value.name or "value",
        )
        self.bind(value, tensor, axes)
        return tensor

    def reshape(
        self, tensor: int, shape: Sequence[Dim], tensor_type: TensorType, name: str
    ) -> int:
        """A tensor with the same elements in another shape: a RESHAPE where it must be one.

        A chain of them is one of its first tensor, or that tensor itself.
        """
        source = self._reshape_sources.get(tensor, tensor)
        if self.model.shape_of(source) == tuple(shape):
            return source
        made = self.copy(source, shape, tensor_type, name)
        self._reshape_sources[made] = source
        return made

    def copy(self, tensor: int, shape: Sequence[Dim], tensor_type: TensorType, name: str) -> int:
        """Writes a RESHAPE to a stored shape; a symbolic dim becomes -1."""
        target = [-1 if isinstance(dim, str) else dim for dim in shape]
        if target.count(-1) > 1:
            raise Refusal("a reshape to more than one dynamic dim", "one dynamic dim, the batch")
        options = schema.ReshapeOptionsT()
        options.newShape = target
        shape_tensor = self.index_tensor(np.array(target, np.int32), f"{name}/shape")
        return self.step(
            Operator("RESHAPE", options), [tensor, shape_tensor], shape, tensor_type, name
        )


def _position(parameter: Parameter, order: Axes) -> int:
    """Where a constant's quantized axis lies after it is transposed to ``order``."""
    quantization = parameter.type.quantization
    if quantization is None or quantization.axis is None:
        return 0
    return order.index(quantization.axis)


type Lowering = Callable[[LoweringContext, ir.Node], None]
