"""What is suggested about a finding."""

from __future__ import annotations

import pytest

from edgekit.core.layer_error import ArtifactErrors, Cause, Culprit, LayerError
from edgekit.measure.remedies import suggest
from tests.unit.measure.layer_errors import floating, quantized


def errors(*layers: LayerError, cause: Cause | None = None, layer: str = "conv") -> ArtifactErrors:
    culprit = Culprit(tensor="x", layer=layer, operators=(), cause=cause or "clipping", text="")
    return ArtifactErrors(
        name="a.tflite",
        runtime="",
        format="tflite",
        layers=layers,
        culprits=() if cause is None else (culprit,),
        verdict="",
    )


@pytest.mark.parametrize(
    ("cause", "kinds"),
    [
        ("clipping", ["requantize", "minmax", "int16", "keep-float"]),
        ("coarse-step", ["requantize", "percentile", "int16", "keep-float"]),
        ("wide-range", ["requantize", "percentile", "equalize", "int16", "keep-float"]),
        ("computation", ["requantize", "equalize", "keep-float", "int16", "convert-again"]),
        ("not-finite", ["convert-again", "keep-float"]),
        ("refused", ["convert-again"]),
    ],
)
def test_by_cause(cause: Cause, kinds: list[str]) -> None:
    assert [item.kind for item in suggest(errors(quantized("x"), cause=cause))] == kinds


def test_the_options_that_do_it() -> None:
    found = {item.kind: item for item in suggest(errors(quantized("x"), cause="clipping"))}
    assert found["minmax"].options == ("--calibration-method", "minmax")
    assert found["keep-float"].options == ("--keep-float", "conv")
    assert "pattern = 'conv', activation_bits = 16" in found["int16"].text
    assert (found["minmax"].layer, found["keep-float"].layer) == ("", "conv")


def test_a_layer_without_name_cannot_be_kept_in_float() -> None:
    found = suggest(errors(quantized("x"), cause="clipping", layer=""))
    assert [item.kind for item in found] == ["requantize", "minmax"]


def test_a_float_artifact_is_converted_again() -> None:
    found = suggest(errors(floating("x", 3.0), cause="computation"))
    assert [item.kind for item in found] == ["convert-again"]


def test_nothing_to_do() -> None:
    assert suggest(errors(quantized("x", 40.0, is_output=True))) == ()


def test_poor_outputs_without_a_culprit() -> None:
    again, found = suggest(errors(quantized("x", 12.0, is_output=True)))
    assert (again.kind, again.layer) == ("requantize", "")
    assert (found.kind, found.layer, found.options) == ("int16", "", ("--precision", "int16x8"))
    assert suggest(errors(floating("x", 12.0))) == ()
