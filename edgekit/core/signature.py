"""Names, shapes and dtypes of a model's inputs and outputs."""

from __future__ import annotations

from typing import Literal

from edgekit.core.model_base import FrozenModel

DType = Literal[
    "float32", "float16", "float64", "bfloat16", "int8", "uint8", "int16", "uint16",
    "int32", "uint32", "int64", "uint64", "bool", "string",
]  # fmt: skip
Dim = int | str


class StoredIntegers(FrozenModel):
    """How an artifact stores a float32 input or output: ``real = scale * (stored - zero_point)``.

    Attributes:
        dtype: Type of the integers.
        scale: Positive, exactly a float32.
        zero_point: The integer that stands for 0.
    """

    dtype: Literal["int8", "uint8"]
    scale: float
    zero_point: int


class TensorSpec(FrozenModel):
    """One input or output of a model, in the axis order of the canonical ONNX graph.

    Attributes:
        name: Name in the canonical graph; every target keeps it.
        shape: Sizes; a string names a symbolic dim (a dynamic batch is ``"batch"``).
        dtype: NumPy name of the element type.
        stored_axes: Order in which an artifact stores the axes: axis ``i`` of the stored
            tensor is axis ``stored_axes[i]`` of ``shape``. ``None`` means unchanged. An NHWC
            image input of a graph in NCHW has ``(0, 2, 3, 1)``.
        stored_integers: Integers in which an artifact stores float32 values; ``None`` where it
            stores ``dtype`` itself.
    """

    name: str
    shape: tuple[Dim, ...]
    dtype: DType = "float32"
    stored_axes: tuple[int, ...] | None = None
    stored_integers: StoredIntegers | None = None

    @property
    def stored_shape(self) -> tuple[Dim, ...]:
        """The shape in the artifact's own axis order."""
        if self.stored_axes is None:
            return self.shape
        return tuple(self.shape[axis] for axis in self.stored_axes)

    def concrete_shape(self, batch: int = 1) -> tuple[int, ...]:
        """The shape with every symbolic dim replaced by ``batch``."""
        return tuple(batch if isinstance(dim, str) else dim for dim in self.shape)

    def __str__(self) -> str:
        """Short form for messages: ``image: float32[batch, 3, 32, 32]``."""
        return f"{self.name}: {self.dtype}[{', '.join(map(str, self.shape))}]"


class ModelSignature(FrozenModel):
    """All inputs and outputs of a model, in graph order."""

    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def input(self, name: str) -> TensorSpec:
        """The input called ``name``; raises KeyError when there is none."""
        for spec in self.inputs:
            if spec.name == name:
                return spec
        raise KeyError(name)

    def output(self, name: str) -> TensorSpec:
        """The output called ``name``; raises KeyError when there is none."""
        for spec in self.outputs:
            if spec.name == name:
                return spec
        raise KeyError(name)
