"""What is decided before a graph is quantized: groups of values, layers, and what stays float."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.core.quant import ActivationScheme, FixedParameters, ScaleFormat, WeightScheme
from edgekit.core.stage import Note


@dataclass(frozen=True, slots=True)
class Reader:
    """One input of one node."""

    node: str
    index: int


@dataclass(frozen=True, slots=True)
class ValueGroup:
    """Values that share one scale and one zero point.

    Attributes:
        name: Name of the first member in graph order.
        members: Values, and names of conversions, that are stored with the parameters.
        sources: Values of the float graph whose elements decide the range: every element of
            any member comes from one of them.
        constants: Initializers that are read with the parameters; their range is included.
        numbers: Single numbers that must be represented, such as what a Pad fills in.
        scheme: Bits and symmetry.
        fixed: Parameters that the producing kernel demands; None when they are calibrated.
    """

    name: str
    members: tuple[str, ...]
    sources: tuple[str, ...]
    constants: tuple[str, ...]
    numbers: tuple[float, ...]
    scheme: ActivationScheme
    fixed: FixedParameters | None


@dataclass(frozen=True, slots=True)
class Conversion:
    """A value that some readers need with other parameters than it is stored with.

    Attributes:
        name: Its own name; it is a member of the group that its readers use.
        value: The value that is converted.
        readers: Who reads it.
    """

    name: str
    value: str
    readers: tuple[Reader, ...]


@dataclass(frozen=True, slots=True)
class ConstantOperand:
    """A constant that is no weight, for example the factor of a Mul.

    Attributes:
        value: The initializer.
        readers: Who reads it with these parameters.
        scheme: Bits and symmetry.
        group: Group whose parameters it has; empty when they come from its own range.
    """

    value: str
    readers: tuple[Reader, ...]
    scheme: ActivationScheme
    group: str = ""


@dataclass(frozen=True, slots=True)
class BiasPlacement:
    """The constant bias of a layer: its initializer, and the input that reads it."""

    value: str
    reader: Reader


@dataclass(frozen=True, slots=True)
class LayerPlacement:
    """A layer whose weights are quantized.

    Attributes:
        layer: Name of the node that reads the weights.
        op_type: Its type.
        weight: Initializer of the weights, read as input 1.
        axis: Axis of the weights that counts output channels.
        scheme: Bits and granularity.
        bias: Its bias; None when there is none.
        input_group: Group of the layer's input; empty when activations stay float, and then
            the bias stays float, too.
        repeats: How often the channel scales repeat along the bias (groups of ConvTranspose).
        scale_format: Format of the scales of its weights; None for that of the placement.
    """

    layer: str
    op_type: str
    weight: str
    axis: int
    scheme: WeightScheme
    bias: BiasPlacement | None = None
    input_group: str = ""
    repeats: int = 1
    scale_format: ScaleFormat | None = None


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a graph is quantized; every name refers to the graph that it was made for.

    Attributes:
        groups: In graph order.
        conversions: In graph order.
        constants: Constants that are no weights, in graph order.
        layers: In graph order.
        integer_units: Names of the ops that compute on integers, in graph order.
        float_reasons: Why an op computes in float, by its name.
        scale_format: Format that represents every calibrated scale.
        already_quantized: The graph came with QuantizeLinear nodes and is left as it is.
        notes: Anything else that the report should tell.
    """

    groups: tuple[ValueGroup, ...] = ()
    conversions: tuple[Conversion, ...] = ()
    constants: tuple[ConstantOperand, ...] = ()
    layers: tuple[LayerPlacement, ...] = ()
    integer_units: tuple[str, ...] = ()
    float_reasons: tuple[tuple[str, str], ...] = ()
    scale_format: ScaleFormat = "float32"
    already_quantized: bool = False
    notes: tuple[Note, ...] = ()

    def group_of(self) -> dict[str, ValueGroup]:
        """The group of every value and conversion, by name."""
        return {member: group for group in self.groups for member in group.members}

    def observed_values(self) -> tuple[str, ...]:
        """Values of the float graph whose elements decide the range of some group."""
        return tuple(dict.fromkeys(name for group in self.groups for name in group.sources))

    def calibrated_groups(self) -> tuple[ValueGroup, ...]:
        """Groups whose range has to be observed."""
        return tuple(group for group in self.groups if group.fixed is None and group.sources)
