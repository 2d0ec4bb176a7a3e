"""Facts about one op of an ML program, as the rules of the Neural Engine read them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

type Attribute = bool | int | float | str | tuple[int, ...] | tuple[float, ...] | tuple[bool, ...]
"""Value of a constant parameter: ``strides`` as a tuple of ints, ``pad_type`` as a text."""


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """A tensor that an op reads or writes.

    Attributes:
        dtype: ``"float16"``, ``"float32"``, ``"int32"``, ``"bool"``, ``"int8"``, ...
        shape: Sizes; None where a size is open. Empty for a scalar.
        constant: Whether its values are stored in the program.
    """

    dtype: str
    shape: tuple[int | None, ...]
    constant: bool = False


@dataclass(frozen=True, slots=True)
class OpFacts:
    """One op.

    Attributes:
        type: MIL op type, for example ``"conv"``.
        name: Of the op, or of its first output.
        inputs: Tensors by parameter name, for example ``"x"`` and ``"weight"``, constant or not.
        outputs: Tensors in order.
        attributes: Values of small constant parameters by name.
    """

    type: str
    name: str
    inputs: Mapping[str, TensorFacts] = field(default_factory=dict)
    outputs: tuple[TensorFacts, ...] = ()
    attributes: Mapping[str, Attribute] = field(default_factory=dict)

    @property
    def variables(self) -> tuple[TensorFacts, ...]:
        """Tensors that change from run to run: inputs that are not constant, and outputs."""
        return (
            *(tensor for tensor in self.inputs.values() if not tensor.constant),
            *self.outputs,
        )

    @property
    def dynamic(self) -> bool:
        """Whether a size is open."""
        return any(size is None for tensor in self.variables for size in tensor.shape)

    def integers(self, name: str) -> tuple[int, ...]:
        """An attribute as integers; empty when it is absent or no integers."""
        value = self.attributes.get(name, ())
        values = value if isinstance(value, tuple) else (value,)
        integers = tuple(item for item in values if isinstance(item, int))
        return integers if len(integers) == len(values) else ()

    def numbers(self, name: str) -> tuple[float, ...]:
        """An attribute as numbers; empty when it is absent or a text."""
        value = self.attributes.get(name, ())
        values = value if isinstance(value, tuple) else (value,)
        return tuple(float(item) for item in values if isinstance(item, int | float))
