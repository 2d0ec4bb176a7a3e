"""The contract of a session whose inner tensors can be seen and replaced.

A comparison of artifacts knows nothing of their formats: each gives its tensors by the names of
the canonical graph, in that graph's axis order, as the real numbers that their integers stand for.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from edgekit.core.signature import ModelSignature

type Array = npt.NDArray[Any]


@dataclass(frozen=True, slots=True)
class Steps:
    """Integers of a tensor: ``real = scale * (integer - zero_point)``.

    Attributes:
        scale: Positive.
        zero_point: The integer that stands for 0.
        dtype: NumPy name of the integers' type.
        prescribed: Whether the kernel demands this scale, whatever the values are.
    """

    scale: float
    zero_point: int
    dtype: str
    prescribed: bool = False

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest real number that the integers express."""
        limits = np.iinfo(self.dtype)
        return (
            self.scale * (int(limits.min) - self.zero_point),
            self.scale * (int(limits.max) - self.zero_point),
        )

    @property
    def count(self) -> int:
        """Steps between the lowest and the highest integer."""
        limits = np.iinfo(self.dtype)
        return int(limits.max) - int(limits.min)

    def quantize(self, values: Array) -> Array:
        """Nearest integers, halves to even, saturated, as ONNX's QuantizeLinear gives them.

        Raises:
            ValueError: If a value is NaN, which no integer stands for.
        """
        limits = np.iinfo(self.dtype)
        quotient = np.rint(values.astype(np.float32) / np.float32(self.scale)) + self.zero_point
        if np.isnan(quotient).any():
            raise ValueError("NaN cannot be quantized")
        integers: Array = np.clip(quotient, limits.min, limits.max).astype(self.dtype)
        return integers

    def dequantize(self, integers: Array) -> Array:
        """Real numbers of integers, float32."""
        shifted = integers.astype(np.int32) - self.zero_point
        return shifted.astype(np.float32) * np.float32(self.scale)

    def nearest(self, values: Array) -> Array:
        """The nearest real numbers that the integers express, float32."""
        return self.dequantize(self.quantize(values))


@dataclass(frozen=True, slots=True)
class ObservedTensor:
    """A tensor of an artifact that an operator of it makes.

    Attributes:
        name: Its key; unique within the artifact.
        canonical: Name of the value in the canonical float graph that it holds.
        stored: Name in the artifact.
        aliases: Other names that a reference may know the value by.
        layer: Name of the node that makes it; empty where the artifact names no nodes.
        operators: Types of the operators between the observed tensors before it and itself.
        reads: Those tensors, by name; empty where the artifact does not tell.
        dtype: Type that it is stored in.
        steps: Its integers; None where it is stored as floats.
        is_output: Whether it is an output of the model.
        named: Whether ``canonical`` is known; False where it is a name of the file's own.
    """

    name: str
    canonical: str
    stored: str
    aliases: tuple[str, ...] = ()
    layer: str = ""
    operators: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    dtype: str = "float32"
    steps: Steps | None = None
    is_output: bool = False
    named: bool = True


@dataclass(frozen=True, slots=True)
class Computed:
    """What operators gave on values that were given to them.

    Attributes:
        values: By tensor, float32 in the canonical axis order.
        refused: Why the operators of a tensor could not be run alone, by tensor.
    """

    values: dict[str, Array]
    refused: dict[str, str] = field(default_factory=dict)


class ObservableSession(Protocol):
    """An artifact whose tensors can be seen and replaced. Not thread-safe."""

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs in the canonical graph's axis order."""

    @property
    def runtime(self) -> str:
        """Name and version of the runtime."""

    @property
    def tensors(self) -> tuple[ObservedTensor, ...]:
        """What can be observed, in order of execution; inputs that nothing makes are left out."""

    @property
    def hidden(self) -> Mapping[str, str]:
        """Why tensors that the artifact has cannot be observed, by their names in it."""

    def observe(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs end to end.

        Args:
            feeds: By input name, in the canonical axis order; not modified.

        Returns:
            By `ObservedTensor.name`, float32 in the canonical axis order, dequantized.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
            UnsupportedError: If the runtime fails.
        """

    def represent(self, name: str, values: Array) -> Array:
        """What readers of a tensor read where ``values`` are stored in it, float32."""

    def compute(self, feeds: Mapping[str, Array], given: Mapping[str, Array]) -> Computed:
        """Runs every operator on given values, so that no error reaches a second one.

        Args:
            feeds: Inputs of the model.
            given: Values by `ObservedTensor.name` that are read in place of what was computed.
                Tensors that are not given are computed from those before them.

        Returns:
            What was computed for each tensor of ``given``.
        """

    def close(self) -> None:
        """Frees the runtime; the session cannot be used afterwards."""
