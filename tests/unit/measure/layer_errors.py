"""Made-up errors of layers for the tests of what is concluded from them."""

from __future__ import annotations

from typing import Any

from edgekit.core.layer_error import ErrorFigures, LayerError, OwnErrorParts

ROUNDING = 0.1**2 / 12
"""Noise that rounding to steps of 0.1 makes."""


def figures(sqnr_db: float | None, noise: float = ROUNDING, **more: Any) -> ErrorFigures:
    values = {"max_abs": 0.0 if sqnr_db is None else 0.1, "cosine": 1.0, "lsb": 1.0, **more}
    return ErrorFigures(sqnr_db=sqnr_db, noise=0.0 if sqnr_db is None else noise, **values)


def quantized(
    tensor: str,
    sqnr_db: float | None = 40.0,
    *,
    clipping: float = 0.0,
    computation: float = 1.0,
    rounding: float = 1.0,
    step_ratio: float | None = 1.0,
    clipped_samples: float = 1.0,
    **more: Any,
) -> LayerError:
    """An int8 layer; parts in units of rounding noise."""
    parts = OwnErrorParts(
        rounding=rounding * ROUNDING,
        clipping=clipping * ROUNDING,
        computation=computation * ROUNDING,
        clipped_share=0.01 if clipping else 0.0,
        clipped_samples=clipped_samples if clipping else 0.0,
        step_ratio=step_ratio,
    )
    fields = {
        "stored": tensor,
        "layer": f"node_{tensor}",
        "operators": ("CONV_2D",),
        "dtype": "int8",
        "scale": 0.1,
        "zero_point": 0,
        "cumulative": figures(sqnr_db),
        **more,
    }
    return LayerError(tensor=tensor, own=figures(sqnr_db), parts=parts, **fields)


def floating(tensor: str, sqnr_db: float | None, dtype: str = "float32") -> LayerError:
    """A layer of floats."""
    return LayerError(
        tensor=tensor,
        stored=tensor,
        layer=f"node_{tensor}",
        operators=("CONV_2D",),
        dtype=dtype,
        cumulative=figures(sqnr_db, lsb=None),
        own=figures(sqnr_db, lsb=None),
    )


def ordinary(count: int = 6) -> list[LayerError]:
    """int8 layers as sound artifacts have them."""
    return [
        quantized(
            f"l{index}", 36.0 + index, computation=0.5 + 0.3 * index, step_ratio=0.8 + index / 12
        )
        for index in range(count)
    ]
