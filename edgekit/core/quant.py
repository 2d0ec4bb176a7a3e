"""How a model is to be quantized, and what a target demands of a quantized graph."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from fnmatch import fnmatchcase
from typing import Any, Literal, Self

from pydantic import Field, ValidationError, model_validator

from edgekit.core.model_base import FrozenModel
from edgekit.core.toml_config import describe_problems, nearest_name, validation_problems
from edgekit.errors import ConfigError

Granularity = Literal["per-channel", "per-tensor", "blockwise"]
ScaleFormat = Literal["float32", "float16", "bfloat16"]
"""Number formats of scales; ``"bfloat16"`` scales are represented by float16 as well."""
Fit = Literal["largest", "mse"]


class ActivationScheme(FrozenModel):
    """Integers that activations are stored in, one scale and zero point a tensor."""

    bits: Literal[8, 16] = Field(8, description="Bits of an activation.")
    symmetric: bool = Field(False, description="Fix the zero point at 0.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.bits == 16 and not self.symmetric:
            raise ValueError("16-bit activations have no zero point; set symmetric = true")
        return self


class WeightScheme(FrozenModel):
    """Integers that weights are stored in; symmetric, without the lowest integer."""

    bits: Literal[4, 8] = Field(8, description="Bits of a weight.")
    granularity: Granularity = Field(
        "per-channel", description="What shares a scale: an output channel, a tensor, a block."
    )
    block_size: int = Field(
        32, ge=2, description="Weights of a block, along the axis that is summed over."
    )
    fit: Fit = Field(
        "largest",
        description="How a scale is chosen: to reach the largest weight, or for the least mean "
        "squared error.",
    )


class LayerOverride(FrozenModel):
    """Other choices for the layers whose node name matches a pattern.

    A field that is None follows the scheme.
    """

    pattern: str = Field(description="Node name, with * and ? as wildcards.")
    keep_float: bool | None = Field(None, description="Leave the layer in float32.")
    activation_bits: Literal[8, 16] | None = Field(None, description="Bits of its activations.")
    weight_bits: Literal[4, 8] | None = Field(None, description="Bits of its weights.")
    granularity: Granularity | None = Field(None, description="What shares a weight scale.")

    @model_validator(mode="after")
    def _check(self) -> Self:
        chosen = [name for name in _CHOICES if getattr(self, name) is not None]
        if not chosen and self.keep_float is None:
            raise ValueError(f"the override for {self.pattern!r} changes nothing")
        if self.keep_float and chosen:
            raise ValueError(
                f"the override for {self.pattern!r} keeps the layer in float and also sets "
                f"{', '.join(chosen)}; remove one of them"
            )
        return self


_CHOICES = ("activation_bits", "weight_bits", "granularity")


class LayerChoice(FrozenModel):
    """What holds for one layer after all overrides.

    Attributes:
        keep_float: Why the layer stays float; empty when it is quantized.
        activations: None leaves its activations in float.
        weights: None leaves its weights in float.
    """

    keep_float: str = ""
    activations: ActivationScheme | None
    weights: WeightScheme | None


class QuantScheme(FrozenModel):
    """What is quantized, and how finely.

    Attributes:
        activations: None leaves activations in float, so that only weights are quantized.
        weights: None leaves weights in float.
    """

    name: str = Field("int8", description="Readable name, for reports.")
    activations: ActivationScheme | None = Field(
        default_factory=ActivationScheme, description="Integers of activations."
    )
    weights: WeightScheme | None = Field(
        default_factory=WeightScheme, description="Integers of weights."
    )
    overrides: tuple[LayerOverride, ...] = Field((), description="Other choices by layer name.")
    keep_float: tuple[str, ...] = Field(
        (), description="Patterns of node names that stay in float32."
    )
    scale_format: ScaleFormat = Field(
        "float32", description="Number format that must represent every scale exactly."
    )

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.activations is not None and self.weights is None:
            raise ValueError("activations cannot be quantized without the weights")
        blockwise = self.weights is not None and self.weights.granularity == "blockwise"
        if self.activations is not None and blockwise:
            raise ValueError(
                "blockwise weights have no integer kernels with quantized activations; "
                "set activations to none or the granularity to per-channel"
            )
        seen: dict[str, LayerOverride] = {}
        for override in self.overrides:
            if override.pattern in seen:
                raise ValueError(f"two overrides have the pattern {override.pattern!r}; join them")
            seen[override.pattern] = override
            if override.activation_bits is not None and self.activations is None:
                raise ValueError(
                    f"the override for {override.pattern!r} sets activation_bits, but scheme "
                    f"{self.name!r} leaves activations in float"
                )
        return self

    def choice_for(self, layer: str, *parts: str) -> LayerChoice:
        """What holds for the node called ``layer``.

        Args:
            layer: Name of the node.
            parts: Names of nodes that are one with it, for example a fused activation; a
                pattern that matches one of them matches the layer.

        Raises:
            ConfigError: If patterns that match it contradict each other.
        """
        names = (layer, *parts)
        matching = [override for override in self.overrides if _match(override.pattern, names)]
        floats = [pattern for pattern in self.keep_float if _match(pattern, names)]
        floats += [override.pattern for override in matching if override.keep_float]
        integers = [item.pattern for item in matching if not item.keep_float]
        if floats and integers:
            raise ConfigError(
                f"Layer {layer!r} is kept in float by pattern {floats[0]!r}, but the override "
                f"{integers[0]!r} says how to quantize it. Make one pattern narrower"
            )
        if floats:
            reason = f"kept in float by the pattern {floats[0]!r}"
            return LayerChoice(keep_float=reason, activations=None, weights=None)
        return self._quantized_choice(layer, matching)

    def _quantized_choice(self, layer: str, matching: list[LayerOverride]) -> LayerChoice:
        activations, weights = self.activations, self.weights
        bits = _agreed(layer, matching, "activation_bits")
        if activations is not None and bits is not None:
            activations = ActivationScheme(
                bits=bits, symmetric=bits == 16 or self.activations_symmetric
            )
        changes = {
            "bits": _agreed(layer, matching, "weight_bits"),
            "granularity": _agreed(layer, matching, "granularity"),
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        if weights is None and changes:
            raise ConfigError(
                f"An override sets {', '.join(changes)} of the weights of layer {layer!r}, but "
                f"scheme {self.name!r} leaves weights in float"
            )
        if weights is not None:
            weights = weights.model_copy(update=changes)
            if activations is not None and weights.granularity == "blockwise":
                raise ConfigError(
                    f"An override gives layer {layer!r} blockwise weights, for which there are "
                    "no integer kernels with quantized activations; use per-channel"
                )
        return LayerChoice(activations=activations, weights=weights)

    @property
    def activations_symmetric(self) -> bool:
        """True when 8-bit activations have their zero point at 0."""
        return (
            self.activations is not None
            and self.activations.bits == 8
            and self.activations.symmetric
        )

    def patterns(self) -> tuple[str, ...]:
        """All patterns of node names, in order of mention."""
        return (*self.keep_float, *(override.pattern for override in self.overrides))


def _match(pattern: str, names: tuple[str, ...]) -> bool:
    return any(fnmatchcase(name, pattern) for name in names)


def _agreed(layer: str, overrides: list[LayerOverride], field: str) -> Any:
    """The one value that the overrides give ``field``; None when none does."""
    given = [(item.pattern, getattr(item, field)) for item in overrides]
    given = [(pattern, value) for pattern, value in given if value is not None]
    if len({value for _, value in given}) > 1:
        listed = ", ".join(f"{pattern!r} says {value}" for pattern, value in given)
        raise ConfigError(
            f"Overrides contradict each other on {field} of layer {layer!r}: {listed}. "
            "Make one pattern narrower"
        )
    return given[0][1] if given else None


SCHEMES: dict[str, QuantScheme] = {
    scheme.name: scheme
    for scheme in (
        QuantScheme(name="int8"),
        QuantScheme(name="int8-weights", activations=None),
        QuantScheme(
            name="int4-weights",
            activations=None,
            weights=WeightScheme(bits=4, granularity="blockwise", fit="mse"),
        ),
        QuantScheme(name="float16", activations=None, weights=None),
        QuantScheme(name="int16x8", activations=ActivationScheme(bits=16, symmetric=True)),
    )
}
"""Schemes by readable name: 8-bit weights and activations; 8-bit weights alone; 4-bit weights
in blocks alone; half precision; 16-bit activations with 8-bit weights."""


def named_scheme(name: str) -> QuantScheme:
    """The scheme called ``name``.

    Raises:
        ConfigError: If there is none.
    """
    if name not in SCHEMES:
        raise ConfigError(
            f"There is no quantization scheme {name!r}.{nearest_name(name, SCHEMES)} "
            f"Known: {', '.join(SCHEMES)}"
        )
    return SCHEMES[name]


def custom_scheme(
    name: str,
    *,
    keep_float: Sequence[str] = (),
    overrides: Sequence[LayerOverride | Mapping[str, Any]] = (),
    scale_format: ScaleFormat = "float32",
    weight_fit: Fit | None = None,
) -> QuantScheme:
    """The scheme called ``name`` with other choices for some layers.

    Args:
        name: One of `SCHEMES`.
        keep_float: Patterns of node names that stay in float32.
        overrides: Choices by layer, or the fields of one each.
        scale_format: Format that must represent every scale exactly.
        weight_fit: How scales of weights are chosen; None leaves it to the scheme.

    Raises:
        ConfigError: If there is no such scheme, or the choices contradict each other; all
            contradictions within single overrides are listed.
    """
    fields = named_scheme(name).model_dump()
    changes = [
        item.model_dump() if isinstance(item, LayerOverride) else dict(item) for item in overrides
    ]
    fields |= {
        "keep_float": tuple(keep_float), "overrides": changes, "scale_format": scale_format
    }  # fmt: skip
    if weight_fit is not None and fields["weights"] is not None:
        fields["weights"]["fit"] = weight_fit
    try:
        return QuantScheme.model_validate(fields)
    except ValidationError as error:
        problems = validation_problems(error, QuantScheme)
        raise ConfigError(describe_problems(f"Quantization scheme {name!r}", problems)) from error


class FixedParameters(FrozenModel):
    """Scale and zero point that a kernel's output always has."""

    scale: float
    zero_point: int


HARD_SIGMOID_SCALE = 257 / 65536
"""Scale of an 8-bit HardSigmoid: the largest number of float16 with which 255 steps end at 1 or
before it (at 0.99998). All other fixed scales of 8 bits are powers of 2; of those of 16 bits the
one of HardSigmoid, 1/32767, is the only one that float16 does not represent."""

_FIXED_8 = {
    "Softmax": FixedParameters(scale=1 / 256, zero_point=-128),
    "Sigmoid": FixedParameters(scale=1 / 256, zero_point=-128),
    "Tanh": FixedParameters(scale=1 / 128, zero_point=0),
    "HardSigmoid": FixedParameters(scale=HARD_SIGMOID_SCALE, zero_point=-128),
    "LogSoftmax": FixedParameters(scale=16 / 256, zero_point=127),
}
_FIXED_16 = {
    name: FixedParameters(scale=1 / 32768, zero_point=0) for name in ("Softmax", "Sigmoid", "Tanh")
} | {"HardSigmoid": FixedParameters(scale=1 / 32767, zero_point=0)}
_MOVEMENT = frozenset(
    {
        "Concat", "DepthToSpace", "Expand", "Flatten", "Gather", "Pad", "Reshape", "Slice",
        "SpaceToDepth", "Split", "Squeeze", "Transpose", "Unsqueeze",
    }
)  # fmt: skip
_SAME_SCALE = frozenset(
    {"AveragePool", "GlobalMaxPool", "Max", "MaxPool", "Min", "ReduceMax", "ReduceMin", "Resize"}
)
_OWN_SCALE = frozenset(
    {
        "Abs", "Add", "Clip", "Conv", "ConvTranspose", "Div", "Elu", "Exp", "Gelu", "Gemm",
        "GlobalAveragePool", "HardSigmoid", "HardSwish", "LayerNormalization", "LeakyRelu", "Log",
        "LogSoftmax", "MatMul", "Mul", "Neg", "PRelu", "Pow", "Reciprocal", "ReduceMean",
        "ReduceSum", "Relu", "Sigmoid", "Softmax", "Sqrt", "Sub", "Tanh",
    }
)  # fmt: skip
_WITHOUT_INT16 = frozenset({"LayerNormalization", "LogSoftmax"})
_FORCED_BITS = {"Div": 16, "Reciprocal": 16}
_SYMMETRIC_INPUTS: dict[str, tuple[int, ...]] = {"MatMul": (1,)}


class QuantConstraints(FrozenModel):
    """What a target demands of a quantized graph; the default suits TFLite's kernels.

    Attributes:
        integer_ops: ONNX ops with a kernel on integers: 8-bit ones, or those of `forced_bits`.
        int16_ops: Those that have one on 16-bit activations.
        forced_bits: Bits of the activations that an op computes on wherever activations are
            quantized, by op. TFLite's 8-bit DIV fails where the divisor's integer is 0, whatever
            the zero point; and 8 bits are too few for what a small divisor makes.
        symmetric_inputs: Inputs that must have a zero point of 0 with 8 bits, by op, where they
            are not weights. XNNPACK ignores another one of a MatMul's second factor.
        movement_ops: Ops that only move or copy elements, so that output and input share their
            parameters; between ops in float they stay float.
        same_scale_ops: Other ops whose kernels demand the same.
        fixed_outputs: Output parameters that an 8-bit kernel demands, by op.
        fixed_outputs_16: The same for 16-bit kernels.
        fusing_ops: Ops whose kernel applies a following activation itself.
        fused_ranges: Ranges of a Relu or Clip that such kernels clamp to.
        clamp_ranges: Ranges of a Relu or Clip that have a kernel with an own output scale;
            any other range shares the parameters of its input.
        blockwise_ops: Ops with a kernel for blockwise weights.
        blockwise_scale_format: Format that must represent the scales of blocks.
        max_spatial_axes: Spatial axes that convolutions and pools have kernels for.
    """

    integer_ops: frozenset[str] = _MOVEMENT | _SAME_SCALE | _OWN_SCALE
    int16_ops: frozenset[str] = (_MOVEMENT | _SAME_SCALE | _OWN_SCALE) - _WITHOUT_INT16
    forced_bits: dict[str, int] = Field(default_factory=lambda: dict(_FORCED_BITS))
    symmetric_inputs: dict[str, tuple[int, ...]] = Field(
        default_factory=lambda: dict(_SYMMETRIC_INPUTS)
    )
    movement_ops: frozenset[str] = _MOVEMENT
    same_scale_ops: frozenset[str] = _SAME_SCALE
    fixed_outputs: dict[str, FixedParameters] = Field(default_factory=lambda: dict(_FIXED_8))
    fixed_outputs_16: dict[str, FixedParameters] = Field(default_factory=lambda: dict(_FIXED_16))
    fusing_ops: frozenset[str] = frozenset(
        {"Add", "Conv", "ConvTranspose", "Gemm", "MatMul", "Mul", "Sub"}
    )
    fused_ranges: tuple[tuple[float, float], ...] = (
        (0.0, float("inf")),
        (0.0, 6.0),
        (-1.0, 1.0),
    )
    clamp_ranges: tuple[tuple[float, float], ...] = (
        (0.0, float("inf")),
        (0.0, 6.0),
        (-1.0, 1.0),
        (0.0, 1.0),
    )
    blockwise_ops: frozenset[str] = frozenset({"Gemm", "MatMul"})
    blockwise_scale_format: ScaleFormat = "bfloat16"
    max_spatial_axes: int = 2
