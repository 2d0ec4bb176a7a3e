"""What LiteRT's 16-bit table kernels compute, to know before writing one whether it will do.

EXP, LOG and GELU on int16 interpolate linearly between 513 points of the whole int16 range
(``tflite/kernels/internal/common.h``, ``LUTPopulateInt16`` and ``LUTLookup``). That is within a
few steps for a smooth function whose results fit the output's range, and far off where a
function is steep or leaves that range between two points.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from edgekit.targets.tflite.lowering.quantization import Parameter, TensorType, dequantized

type Reals = npt.NDArray[np.float64]
type Function = Callable[[Reals], Reals]

_INTERVALS = 512
_LOW, _HIGH = -(2**15), 2**15 - 1
_INTERVAL_BITS = 7


def all_integers(kind: TensorType) -> npt.NDArray[np.int64]:
    """Every integer of a type, in order."""
    limits = np.iinfo(kind.dtype)
    return np.arange(limits.min, limits.max + 1, dtype=np.int64)


def real_values(kind: TensorType) -> Reals:
    """The real numbers of `all_integers`."""
    integers = all_integers(kind).astype(kind.dtype)
    return dequantized(Parameter(integers, kind)).astype(np.float64)


def interpolated_integers(
    function: Function, source: TensorType, target: TensorType
) -> npt.NDArray[np.int64]:
    """What the kernel gives for every integer of ``source``.

    Args:
        function: What it computes.
        source: int16 with one scale.
        target: int16 with one scale.
    """
    assert source.quantization is not None
    assert target.quantization is not None
    scale = source.quantization.scales[0]
    per_unit = 1.0 / target.quantization.scales[0]
    points: Reals = np.linspace(scale * _LOW, scale * _HIGH, _INTERVALS + 1, dtype=np.float64)
    middles = (points[:-1] + points[1:]) / 2
    with np.errstate(all="ignore"):
        samples = _finite(np.rint(function(points) * per_unit))
        exact = _finite(np.rint(function(middles) * per_unit))
    bias = np.rint((np.rint((samples[1:] + samples[:-1]) / 2) - exact) / 2)
    table = np.append(samples[:-1] - bias, samples[-1])
    table = np.clip(table, _LOW, _HIGH).astype(np.int64)
    integers = all_integers(source)
    place = (integers >> _INTERVAL_BITS) + _INTERVALS // 2
    offset = integers & ((1 << _INTERVAL_BITS) - 1)
    slope = table[place + 1] - table[place]
    rise: npt.NDArray[np.int64] = (slope * offset + (1 << (_INTERVAL_BITS - 1))) >> _INTERVAL_BITS
    made: npt.NDArray[np.int64] = table[place] + rise
    return made


def _finite(numbers: Reals) -> Reals:
    return np.clip(np.nan_to_num(numbers, nan=0.0), -(2.0**40), 2.0**40)
