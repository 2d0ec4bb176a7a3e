"""Where the tensors of a .tflite file come from in the canonical graph."""

from __future__ import annotations

from edgekit.core.model_base import FrozenModel


class TensorOrigin(FrozenModel):
    """The ONNX value that a tensor holds.

    Attributes:
        tensor: Name in the .tflite file.
        value: Name in the canonical graph.
        stored_axes: Axis ``i`` of the tensor is axis ``stored_axes[i]`` of the value.
    """

    tensor: str
    value: str
    stored_axes: tuple[int, ...]
