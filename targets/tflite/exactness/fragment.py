"""A part of a .tflite file, loaded alone."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy.typing as npt
from ai_edge_litert.interpreter import Interpreter

from edgekit.targets.tflite.native_output import quiet_native_stderr

type Array = npt.NDArray[Any]


class Fragment:
    """Runs a model of LiteRT on arrays in its own order and types. Not thread-safe."""

    def __init__(self, content: bytes) -> None:
        """Loads it; the kernels are those that a whole file gets.

        Args:
            content: The model, for example from `StoredModel.cut`.

        Raises:
            ValueError: If LiteRT refuses the model.
            RuntimeError: As well.
        """
        # The interpreter reads from the buffer as long as it lives.
        self._content = content
        with quiet_native_stderr():
            self._interpreter: Any = Interpreter(model_content=content, num_threads=1)
        self._shapes: list[tuple[int, ...]] | None = None

    def run(self, arrays: Sequence[Array]) -> list[Array]:
        """Runs once.

        Args:
            arrays: One for each input, in order; sizes may differ from the model's.

        Returns:
            One array for each output; owned by the caller.

        Raises:
            ValueError: If LiteRT does not take the arrays.
            RuntimeError: If it fails.
        """
        details = self._interpreter.get_input_details()
        shapes = [array.shape for array in arrays]
        if shapes != self._shapes:
            with quiet_native_stderr():
                for detail, shape in zip(details, shapes, strict=True):
                    if tuple(detail["shape"]) != shape:
                        self._interpreter.resize_tensor_input(detail["index"], list(shape))
                self._interpreter.allocate_tensors()
            self._shapes = shapes
        for detail, array in zip(details, arrays, strict=True):
            self._interpreter.set_tensor(detail["index"], array)
        self._interpreter.invoke()
        outputs = self._interpreter.get_output_details()
        return [self._interpreter.get_tensor(detail["index"]) for detail in outputs]
