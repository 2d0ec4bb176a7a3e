"""What can be done about a layer that is out of line."""

from __future__ import annotations

from edgekit.core.layer_error import ArtifactErrors, Cause, Remedy, RemedyKind

_POOR_DB = 20.0
"""Outputs below this are poor even where no single layer is to blame."""
_INTEGERS = frozenset({"int8", "uint8", "int16"})

_TEXTS: dict[RemedyKind, str] = {
    "requantize": "quantize again, with the default calibration: tells whether the artifact or "
    "its calibration is at fault",
    "percentile": "calibrate by percentile, which leaves rare outliers out of the range",
    "minmax": "calibrate by the lowest and highest values, which clips nothing",
    "equalize": "equalize the ranges of channels between layers",
    "int16": "give this layer 16-bit activations",
    "keep-float": "keep this layer in float",
    "convert-again": "convert again and check with edgekit verify; if the fault stays, report it",
}
_BY_CAUSE: dict[Cause, tuple[RemedyKind, ...]] = {
    "clipping": ("requantize", "minmax", "int16", "keep-float"),
    "coarse-step": ("requantize", "percentile", "int16", "keep-float"),
    "wide-range": ("requantize", "percentile", "equalize", "int16", "keep-float"),
    "computation": ("requantize", "equalize", "keep-float", "int16", "convert-again"),
    "not-finite": ("convert-again", "keep-float"),
    "refused": ("convert-again",),
}


def suggest(errors: ArtifactErrors) -> tuple[Remedy, ...]:
    """Remedies for the first culprit, the most likely one first.

    Where no layer is out of line and the outputs are poor all the same, it is the number format
    as a whole that does not suffice.

    Args:
        errors: Comparison with its culprits.
    """
    quantized = any(layer.dtype in _INTEGERS for layer in errors.layers)
    if not errors.culprits:
        poor = errors.output_sqnr_db is not None and errors.output_sqnr_db < _POOR_DB
        return _for_the_whole() if quantized and poor else ()
    culprit = errors.culprits[0]
    kinds = _BY_CAUSE[culprit.cause] if quantized else ("convert-again",)
    return tuple(
        _remedy(kind, culprit.layer)
        for kind in kinds
        if culprit.layer or kind not in {"int16", "keep-float"}
    )


def _for_the_whole() -> tuple[Remedy, ...]:
    return (
        _remedy("requantize", ""),
        Remedy(
            kind="int16",
            text="16-bit activations in all layers, since none stands out",
            options=("--precision", "int16x8"),
        ),
    )


def _remedy(kind: RemedyKind, layer: str) -> Remedy:
    options: tuple[str, ...] = ()
    if kind in {"percentile", "minmax"}:
        options = ("--calibration-method", kind)
    elif kind == "equalize":
        options = ("--equalize",)
    elif kind == "keep-float":
        options = ("--keep-float", layer)
    text = _TEXTS[kind]
    if kind == "int16":
        text += (
            f" (in edgekit.toml: [[quantize.overrides]] pattern = {layer!r}, activation_bits = 16)"
        )
    return Remedy(
        kind=kind,
        layer=layer if kind in {"int16", "keep-float"} else "",
        text=text,
        options=options,
    )
