"""Numeric forms of artifacts, and the ways in which they compute."""

from __future__ import annotations

from typing import Literal

Precision = Literal["float32", "float16", "int8", "int16x8", "int8-weights", "int4-weights"]
"""Numeric forms. Those of `QUANTIZED` are lowered from a QDQ graph, quantized by the scheme of
the same name (`edgekit.core.quant.SCHEMES`)."""

QUANTIZED: tuple[Precision, ...] = ("int8", "int16x8", "int8-weights", "int4-weights")
"""Numeric forms that hold integers: activations and weights of 8 bits; activations of 16 and
weights of 8; weights of 8 bits alone; weights of 4 bits in blocks alone."""

INTEGER_ACTIVATIONS: tuple[Precision, ...] = ("int8", "int16x8")
"""Those of `QUANTIZED` whose activations are integers, so that they need calibration data."""

WEIGHTS_ONLY: tuple[Precision, ...] = ("int8-weights", "int4-weights")
"""The others of `QUANTIZED`: integer weights, float activations."""

WeightCompute = Literal["dynamic", "exact"]
"""How an artifact with integer weights alone computes. ``"dynamic"``: on the integers where the
runtime is faster so, activations rounded to 8 bits as they come; ``"exact"``: in float32 on
weights restored from the integers."""

FloatCompute = Literal["float32", "float16"]
"""Precision in which an artifact computes where it computes on floating point."""

IoType = Literal["float32", "int8", "uint8"]
"""Type of a quantized artifact's inputs and outputs; the graph's own is float32."""
