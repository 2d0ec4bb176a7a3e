"""Inputs and outputs of the program: names, types, open dimensions, images."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.core.batch_sizes import BatchSizes
from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.errors import ConfigError, UnsupportedError
from edgekit.graph.node_view import Refusal
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    dtype_name,
    dtype_of,
    kind_of,
    rank_of,
)
from edgekit.targets.coreml.lowering.naming import identifier
from edgekit.targets.coreml.lowering.registry import Var
from edgekit.targets.coreml.toolchain import coremltools as ct
from edgekit.targets.coreml.toolchain import mb

_FLOATS = {"float32", "float16", "float64", "bfloat16"}


@dataclass
class Interface:
    """Inputs of the program as they are being made.

    Attributes:
        placeholders: By the name of the feature.
        types: coremltools' description of each input.
        features: Name of the feature of each ONNX input and output.
        image: Name of the input that takes images; empty where none does.
        symbols: Symbol of each open dimension, by its ONNX name.
    """

    placeholders: dict[str, Any] = field(default_factory=dict)
    types: list[Any] = field(default_factory=list)
    features: dict[str, str] = field(default_factory=dict)
    image: str = ""
    symbols: dict[str, Any] = field(default_factory=dict)


def plan_inputs(e: Emitter, model: ir.Model, metadata: ModelMetadata) -> Interface:
    """Describes the inputs, before any operator is emitted.

    Raises:
        UnsupportedError: If an input is no tensor of numbers.
        ConfigError: If images are asked for and the first input is none.
    """
    plan = Interface()
    weights = model.graph.initializers.keys()
    for index, value in enumerate(v for v in model.graph.inputs if v.name not in weights):
        name = e.names.unique(str(value.name))
        plan.features[str(value.name)] = name
        shape = _shape(value, plan)
        if index == 0 and e.options.image_input:
            _plan_image(plan, name, shape, metadata)
            continue
        dtype = _placeholder_type(value)
        plan.placeholders[name] = mb.placeholder(
            shape=[size.symbol if isinstance(size, _Open) else size for size in shape] or [1],
            dtype=dtype,
        )
        plan.types.append(
            ct.TensorType(
                name=name,
                shape=_allowed(shape, e.options.batches),
                dtype=np.float32 if dtype == _types().fp32 else np.int32,
            )
        )
    return plan


@dataclass(frozen=True, slots=True)
class _Open:
    symbol: Any


def _types() -> Any:
    from coremltools.converters.mil.mil import types

    return types


def _shape(value: ir.Value, plan: Interface) -> list[Any]:
    if value.shape is None or not isinstance(value.type, ir.TensorType | None):
        raise UnsupportedError(
            f"Input {value.name!r} is no tensor of known rank; Core ML takes tensors and images."
        )
    from coremltools.converters.mil.mil import get_new_symbol

    found: list[Any] = []
    for axis, dim in enumerate(value.shape):
        if isinstance(dim, int):
            if dim == 0:
                raise UnsupportedError(
                    f"Input {value.name!r} has a dimension of size 0, which Core ML does not have."
                )
            found.append(dim)
            continue
        key = dim.value or f"{value.name}?{axis}"
        if key not in plan.symbols:
            plan.symbols[key] = get_new_symbol()
        found.append(_Open(plan.symbols[key]))
    return found


def _allowed(shape: list[Any], batches: BatchSizes) -> Any:
    """The shapes that an input can have: one, a range, or some."""
    if batches.sizes and any(isinstance(size, _Open) for size in shape):
        return ct.EnumeratedShapes(
            [
                [batch if isinstance(size, _Open) else size for size in shape]
                for batch in batches.sizes
            ],
            default=[batches.low if isinstance(size, _Open) else size for size in shape],
        )
    span = ct.RangeDim(lower_bound=batches.low, upper_bound=batches.high, default=batches.low)
    return ct.Shape([span if isinstance(size, _Open) else size for size in shape] or [1])


def _placeholder_type(value: ir.Value) -> Any:
    name = dtype_name(value)
    if name in _FLOATS:
        return _types().fp32
    if name == "bool" or "int" in name:
        return _types().int32
    raise UnsupportedError(
        f"Input {value.name!r} holds {name or 'elements of unknown type'}; Core ML takes floats, "
        "integers and images."
    )


def _plan_image(plan: Interface, name: str, shape: list[Any], metadata: ModelMetadata) -> None:
    preprocessing = metadata.preprocessing
    if isinstance(preprocessing, LogMel):
        raise ConfigError(
            f"Input {name!r} cannot take images: the model declares log-mel features of "
            "recordings. Leave --image-input out; the application computes the features."
        )
    if preprocessing is None or len(shape) != 4:
        raise ConfigError(
            f"Input {name!r} cannot take images: the model declares no preprocessing of pixels, "
            "or the input is not of rank 4. State it (--mean, --std ...) or leave --image-input "
            "out."
        )
    channels = 1 if preprocessing.channels == "gray" else 3
    sizes = [
        1 if isinstance(size, _Open) and axis == 0 else size for axis, size in enumerate(shape)
    ]
    if sizes[0] != 1 or sizes[1] != channels or any(isinstance(size, _Open) for size in sizes):
        raise ConfigError(
            f"Input {name!r} cannot take images: Core ML takes one image of fixed size with "
            f"{channels} channels on axis 1, the input has shape {shape}."
        )
    layout = {"gray": ct.colorlayout.GRAYSCALE, "rgb": ct.colorlayout.RGB,
              "bgr": ct.colorlayout.BGR}[preprocessing.channels]  # fmt: skip
    plan.image = name
    plan.placeholders[name] = mb.placeholder(shape=sizes, dtype=_types().fp32)
    plan.types.append(ct.ImageType(name=name, shape=tuple(sizes), color_layout=layout))


def read_inputs(
    e: Emitter,
    model: ir.Model,
    plan: Interface,
    variables: dict[str, Var],
    metadata: ModelMetadata,
) -> None:
    """Brings the program's inputs to what the graph reads: booleans, numbers, pixels scaled."""
    weights = model.graph.initializers.keys()
    for value in model.graph.inputs:
        if value.name in weights:
            continue
        name = plan.features[str(value.name)]
        x = variables[name]
        e.prefix = name
        if name == plan.image and isinstance(metadata.preprocessing, Preprocessing):
            x = _normalized(e, x, metadata.preprocessing)
        if dtype_name(value) == "bool":
            x = e("not_equal", x=x, y=np.int32(0))
        if value.shape is not None and len(value.shape) == 0:
            x = e("squeeze", x=x, axes=[0])
        e.variables[value] = x


def _normalized(e: Emitter, x: Var, preprocessing: Preprocessing) -> Var:
    """``(pixel * scale - mean) / std`` with one multiplication and one addition."""
    std = np.asarray(preprocessing.std, np.float64)
    mean = np.asarray(preprocessing.mean, np.float64)
    factor = (preprocessing.scale / std).astype(np.float32).reshape(1, -1, 1, 1)
    shift = (-mean / std).astype(np.float32).reshape(1, -1, 1, 1)
    return e("add", x=e("mul", x=x, y=factor), y=shift)


def write_outputs(e: Emitter, model: ir.Model, plan: Interface) -> list[Var]:
    """The program's outputs, each a variable of its own with the feature's name.

    Raises:
        Refusal: If an output has a type that Core ML does not have.
    """
    found = []
    taken = {id(variable) for variable in plan.placeholders.values()}
    for value in model.graph.outputs:
        e.prefix = str(value.name)
        x = e.var(value)
        if kind_of(x) == "bool" or dtype_of(x) not in {"fp32", "int32"}:
            x = e("cast", x=x, dtype="int32")
        if rank_of(x) == 0:
            x = e("expand_dims", x=x, axes=[0])
        own = x.op is not None and x.name == identifier(str(value.name))
        if x.op is None or id(x) in taken or not own or x.op.op_type == "const":
            x = e("identity", x=x)
        if not own:
            x.name = e.names.unique(str(value.name))
            x.op.name = x.name
        taken.add(id(x))
        plan.features[str(value.name)] = x.name
        found.append(x)
    if not found:
        raise Refusal("a model without outputs")
    return found
