"""The signature of a .tflite file, from the flatbuffer alone or with edgekit's own entry."""

from __future__ import annotations

from typing import cast, get_args

from edgekit.core.signature import Dim, DType, ModelSignature, TensorSpec
from edgekit.errors import InputError
from edgekit.targets.tflite.model_file import ModelFile

_DTYPES = frozenset(get_args(DType))
NARROWED = {"int64": "int32"}
"""Element types of the canonical graph that a file may store as a smaller one."""


def stored_signature(file: ModelFile) -> ModelSignature:
    """Inputs and outputs of the main graph in the axis order of the file.

    The first axis, where dynamic, is called ``"batch"``; other dynamic axes are named after
    their tensor.

    Raises:
        InputError: If an input or output has an element type that NumPy does not know.
    """
    return ModelSignature(
        inputs=tuple(_spec(file, name, index) for name, index in file.named_inputs()),
        outputs=tuple(_spec(file, name, index) for name, index in file.named_outputs()),
    )


def _spec(file: ModelFile, name: str, index: int) -> TensorSpec:
    tensor = file.main.tensors[index]
    if tensor.dtype not in _DTYPES:
        raise InputError(
            f"{file.name}: {name!r} has the element type {tensor.dtype}, which edgekit cannot "
            f"feed or read; accepted at inputs and outputs: {', '.join(sorted(_DTYPES))}."
        )

    def dim(axis: int, size: int) -> Dim:
        if axis not in tensor.dynamic:
            return size
        return "batch" if axis == 0 else f"{name}_dim{axis}"

    return TensorSpec(
        name=name,
        shape=tuple(dim(axis, size) for axis, size in enumerate(tensor.shape)),
        dtype=cast("DType", tensor.dtype),
    )


def misfit(signature: ModelSignature, stored: ModelSignature) -> str:
    """Why ``signature`` cannot describe a file with the signature ``stored``; empty if it can.

    Args:
        signature: In canonical axis order, with ``stored_axes``.
        stored: As the file has it.
    """
    for side in ("inputs", "outputs"):
        canonical: tuple[TensorSpec, ...] = getattr(signature, side)
        actual: tuple[TensorSpec, ...] = getattr(stored, side)
        if [spec.name for spec in canonical] != [spec.name for spec in actual]:
            return (
                f"its {side} are {[spec.name for spec in canonical]}, "
                f"but the file has {[spec.name for spec in actual]}"
            )
        for spec, found in zip(canonical, actual, strict=True):
            reason = _spec_misfit(spec, found)
            if reason:
                return reason
    return ""


def _spec_misfit(spec: TensorSpec, found: TensorSpec) -> str:
    rank = len(spec.shape)
    axes = range(rank) if spec.stored_axes is None else spec.stored_axes
    if sorted(axes) != list(range(rank)):
        return f"{spec.name!r} has {rank} axes, but the stored order {list(axes)}"
    accepted = (spec.dtype, NARROWED.get(spec.dtype))
    if spec.stored_integers is not None:
        accepted = (spec.stored_integers.dtype, None)
    if found.dtype not in accepted:
        return f"{spec.name!r} is {spec.dtype}, but the file has {found.dtype}"
    same = len(found.shape) == rank and all(
        isinstance(size, str) or size == actual
        for size, actual in zip(spec.stored_shape, found.shape, strict=True)
    )
    if not same:
        return (
            f"{spec.name!r} is stored as {list(spec.stored_shape)}, "
            f"but the file has {list(found.shape)}"
        )
    return ""
