"""Findings in words."""

from __future__ import annotations

from edgekit.core.layer_error import LayerError
from edgekit.measure.culprits import Findings, judge
from edgekit.measure.verdict import verdict_on
from tests.unit.measure.layer_errors import figures, floating, ordinary, quantized


def verdict(*layers: LayerError) -> str:
    return verdict_on(judge(layers, Findings({}, {}, {})))


def test_nothing_differs() -> None:
    assert verdict(floating("a", None), floating("b", None)) == (
        "No difference: all 2 tensors are equal, element by element."
    )


def test_nothing_stands_out() -> None:
    output = quantized("out", 40.0, is_output=True, own_share=0.25)
    assert verdict(*ordinary(), output) == (
        "No layer is out of line: the own errors of all 7 that could be run alone are what their "
        "number formats explain; 'l5' is nearest to its limit. Output 'out' is at 40.0 dB; it "
        "inherits 75% of its error."
    )


def test_the_first_culprit_and_others() -> None:
    spoilt = [quantized(f"x{i}", 1.0, computation=9000.0 - 1000 * i) for i in range(5)]
    text = verdict(*ordinary(8), *spoilt)
    assert text.startswith(
        "First culprit: CONV_2D, which makes 'x0', computes something else than its integers'"
    )
    assert "In the reference this is node 'node_x0'." in text
    assert "Also out of line: 'x1', 'x2', 'x3' and 1 more." in text


def test_another_model() -> None:
    layers = [quantized(f"a{i}", 2.0, computation=5000.0) for i in range(8)]
    assert verdict(*layers).startswith("Most layers compute something else than the reference")


def test_no_layer_could_be_run() -> None:
    layer = floating("a", 30.0).model_copy(update={"own": None, "own_missing": "no values"})
    assert verdict(layer) == (
        "No layer could be run alone, so own and inherited error cannot be told apart: no values."
    )


def test_equal_alone_but_not_end_to_end() -> None:
    layer = floating("a", None).model_copy(update={"cumulative": figures(30.0)})
    assert verdict(layer).startswith("No layer is out of line")
