"""Affine quantization: ``real = scale * (integer - zero_point)``, and its parameters."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import ml_dtypes
import numpy as np
import numpy.typing as npt

from edgekit.core.quant import ActivationScheme, FixedParameters, ScaleFormat
from edgekit.errors import ConfigError

type FloatArray = npt.NDArray[np.floating[Any]]
type IntArray = npt.NDArray[np.integer[Any]]

SCALE_FLOOR = 2.0**-40
"""No smaller scale is used, so that products of scales stay normal float32 numbers."""
_HALF_FLOOR = 2.0**-14
"""The smallest normal float16 number; below it a scale loses digits."""
_BFLOAT16_BITS, _BFLOAT16_STEP = np.uint32(0xFFFF0000), np.uint32(0x00010000)
_LARGEST_SHORT = np.float32(65280.0)
"""The largest number that float16 and bfloat16 both represent."""
_LARGEST_HALF = np.float32(65504.0)
"""The largest number that float16 represents."""
_UNSEEN_RANGE = 1.0
"""Range for a tensor that was always zero: anything but a tiny one would do."""


@dataclass(frozen=True, slots=True)
class AffineParameters:
    """Parameters of one tensor.

    Attributes:
        scale: Positive; exactly representable in float32.
        zero_point: The integer that stands for 0.
        bits: 8 or 16.
    """

    scale: float
    zero_point: int
    bits: int = 8

    @classmethod
    def fixed(cls, parameters: FixedParameters, bits: int) -> AffineParameters:
        """What a kernel demands, with the scale rounded to float32."""
        return cls(float(np.float32(parameters.scale)), parameters.zero_point, bits)

    @property
    def dtype(self) -> np.dtype[Any]:
        """NumPy type of the integers."""
        return np.dtype(f"int{self.bits}")

    @property
    def limits(self) -> tuple[int, int]:
        """Lowest and highest integer."""
        return -(1 << (self.bits - 1)), (1 << (self.bits - 1)) - 1

    @property
    def bounds(self) -> tuple[float, float]:
        """Lowest and highest real number that is represented."""
        low, high = self.limits
        return self.scale * (low - self.zero_point), self.scale * (high - self.zero_point)

    def quantize(self, values: FloatArray) -> IntArray:
        """Nearest integers (halves to even), saturated, as ONNX's QuantizeLinear."""
        low, high = self.limits
        quotient = np.rint(values.astype(np.float32) / np.float32(self.scale))
        integers: IntArray = np.clip(quotient + self.zero_point, low, high).astype(self.dtype)
        return integers

    def dequantize(self, integers: IntArray) -> npt.NDArray[np.float32]:
        """Real numbers of integers, as ONNX's DequantizeLinear."""
        shifted = integers.astype(np.int32) - self.zero_point
        return shifted.astype(np.float32) * np.float32(self.scale)


def rounded_scales(
    scales: npt.NDArray[np.floating[Any]], scale_format: ScaleFormat = "float32"
) -> npt.NDArray[np.float32]:
    """Scales in float32, at least the floor; for shorter formats rounded up, so the range fits.

    Raises:
        ConfigError: If float16 does not reach as far as a scale.
    """
    single: npt.NDArray[np.float32] = np.maximum(scales, SCALE_FLOOR).astype(np.float32)
    if scale_format == "float32":
        return single
    # From float32, so that a scale recomputed from its own range is not rounded up again.
    single = np.maximum(single, np.float32(_HALF_FLOOR))
    if scale_format == "bfloat16":
        # The 8 leading digits, plus one at the last of them where anything was cut off.
        bits = single.reshape(-1).view(np.uint32)
        kept = bits & _BFLOAT16_BITS
        up = np.where(kept == bits, kept, kept + _BFLOAT16_STEP).astype(np.uint32)
        short: npt.NDArray[np.float32] = up.view(np.float32).reshape(single.shape)
        return np.asarray(np.minimum(short, _LARGEST_SHORT), np.float32)
    if (single > _LARGEST_HALF).any():
        raise ConfigError(
            f"A scale of {single.max():.3g} is beyond float16, whose largest number is "
            f"{_LARGEST_HALF:.0f}. Quantize with scale_format = float32, or bring the values of "
            "the model into a smaller range."
        )
    half = single.astype(np.float16)
    below = half.astype(np.float32) < single
    with np.errstate(over="ignore"):
        above = np.nextafter(half, np.float16(np.inf))
    return np.where(below, above, half).astype(np.float32)


def affine_parameters(
    low: float, high: float, scheme: ActivationScheme, scale_format: ScaleFormat = "float32"
) -> AffineParameters:
    """Parameters that represent ``[low, high]`` and exactly 0.

    Args:
        low: Lowest value; taken as 0 when positive.
        high: Highest value; taken as 0 when negative.
        scheme: Bits and symmetry.
        scale_format: Format that must represent the scale.

    Raises:
        ValueError: If a bound is not finite or they are exchanged.
    """
    if not (np.isfinite(low) and np.isfinite(high) and low <= high):
        raise ValueError(f"[{low}, {high}] is no range")
    low, high = min(low, 0.0), max(high, 0.0)
    if low == high:
        high = _UNSEEN_RANGE
    lowest, highest = -(1 << (scheme.bits - 1)), (1 << (scheme.bits - 1)) - 1
    if scheme.symmetric:
        scale = _rounded(max(-low, high) / highest, scale_format)
        return AffineParameters(scale, 0, scheme.bits)
    scale = _rounded((high - low) / (highest - lowest), scale_format)
    zero_point = int(np.clip(np.rint(lowest - low / scale), lowest, highest))
    return AffineParameters(scale, zero_point, scheme.bits)


def _rounded(scale: float, scale_format: ScaleFormat) -> float:
    return float(rounded_scales(np.asarray(scale), scale_format))


def integer_dtype(bits: int) -> np.dtype[Any]:
    """NumPy type of weights of 4 or 8 bits, or of activations of 16."""
    return np.dtype(ml_dtypes.int4) if bits == 4 else np.dtype(f"int{bits}")
