"""Which layers are out of line, and which of them is named first."""

from __future__ import annotations

import pytest

from edgekit.core.layer_error import Cause, LayerError
from edgekit.measure.culprits import Findings, Judgement, judge
from tests.unit.measure.layer_errors import floating, ordinary, quantized

NOTHING = Findings({}, {}, {})


def judged(*layers: LayerError, findings: Findings = NOTHING) -> Judgement:
    return judge([*ordinary(), *layers], findings)


def named(judgement: Judgement) -> list[tuple[str, Cause]]:
    return [(item.tensor, item.cause) for item in judgement.culprits]


def test_ordinary_layers() -> None:
    judgement = judged()
    assert judgement.culprits == ()
    assert len(judgement.ranking) == 6
    assert all(layer.excess_db is not None for layer in judgement.layers)
    assert not any(layer.out_of_line for layer in judgement.layers)
    assert not judgement.alien


@pytest.mark.parametrize(
    ("layer", "cause", "text"),
    [
        (
            quantized("x", 25.0, clipping=80.0),
            "clipping",
            "clips 1.00% of its values, in 100%",
        ),
        (quantized("x", 35.0, step_ratio=2.4), "coarse-step", "2.4 times what its values"),
        (
            quantized("x", 3.0, computation=9000.0),
            "computation",
            "computes something else than its integers' rounding explains: 3.0 dB",
        ),
        (
            quantized("x", 12.0),
            "wide-range",
            "has values of too different sizes for int8: a step of 0.1",
        ),
    ],
)
def test_what_is_wrong_with_a_layer(layer: LayerError, cause: Cause, text: str) -> None:
    judgement = judged(layer)
    assert named(judgement) == [("x", cause)]
    assert text in judgement.culprits[0].text
    assert judgement.culprits[0].layer == "node_x"
    assert judgement.ranking[0] == "x"
    assert [layer.tensor for layer in judgement.layers if layer.out_of_line] == ["x"]


def test_values_beyond_a_range_that_few_samples_gave() -> None:
    """As scores of ResNet-20 after calibration on 8 images, in a fifth of the samples."""
    judgement = judged(quantized("x", 12.0, clipping=500.0, clipped_samples=0.2))
    assert judgement.culprits == ()
    assert judgement.short == ("x",)
    wrong = judged(quantized("x", 12.0, clipping=500.0, clipped_samples=1.0))
    assert (named(wrong), wrong.short) == ([("x", "clipping")], ())


def test_ranges_that_are_all_too_narrow_are_not_ordinary() -> None:
    """As after calibration on images of another preprocessing."""
    layers = [quantized(f"c{i}", 20.0, clipping=400.0 + i, step_ratio=0.4) for i in range(9)]
    judgement = judge(layers, NOTHING)
    assert len(judgement.culprits) == 9
    assert judgement.culprits[0].cause == "clipping"


def test_a_step_is_held_to_ranges_that_are_all_short() -> None:
    layers = [quantized(f"c{i}", 38.0, step_ratio=0.8 + i / 50) for i in range(9)]
    assert judge(layers, NOTHING).culprits == ()
    assert named(judge([*layers, quantized("x", 33.0, step_ratio=1.65)], NOTHING)) == [
        ("x", "coarse-step")
    ]


def test_coarse_weights_of_all_layers_are_ordinary() -> None:
    layers = [quantized(f"c{i}", 30.0, computation=60.0 + 10 * i) for i in range(9)]
    assert judge(layers, NOTHING).culprits == ()


def test_a_layer_without_error_is_not_ranked() -> None:
    judgement = judged(quantized("x", None))
    assert "x" not in judgement.ranking
    assert judgement.layers[-1].excess_db is None


def test_a_prescribed_scale_is_not_too_wide() -> None:
    assert judged(quantized("x", 35.0, step_ratio=None)).culprits == ()


def test_sixteen_bits_have_the_error_of_their_weights() -> None:
    layers = [
        quantized(f"w{i}", 42.0, computation=1e4 * (1 + i % 2) * (i > 2), dtype="int16")
        for i in range(9)
    ]
    assert judge(layers, NOTHING).culprits == ()
    spoilt = quantized("x", 1.0, computation=1e7, dtype="int16")
    assert named(judge([*layers, spoilt], NOTHING)) == [("x", "computation")]


def test_floats_are_held_to_the_others() -> None:
    layers = [floating(f"f{i}", 125.0 + i) for i in range(6)]
    assert judge(layers, NOTHING).culprits == ()
    judgement = judge([*layers, floating("x", 40.0)], NOTHING)
    assert named(judgement) == [("x", "computation")]
    assert judgement.culprits[0].text == (
        "CONV_2D, which makes 'x', computes something else: 40.0 dB on the reference's own values"
    )


def test_floats_on_integer_weights() -> None:
    layers = [floating(f"f{i}", 45.0 + i) for i in range(6)]
    assert judge([*layers, floating("x", 29.0)], NOTHING).culprits == ()
    assert named(judge([*layers, floating("x", 9.0)], NOTHING)) == [("x", "computation")]


@pytest.mark.parametrize(("sqnr_db", "expected"), [(30.0, 0), (10.0, 1)])
def test_a_single_float_layer(sqnr_db: float, expected: int) -> None:
    assert len(judge([floating("x", sqnr_db)], NOTHING).culprits) == expected


def test_nan_comes_before_all_else() -> None:
    findings = Findings({"l2": 7}, {}, {})
    judgement = judged(quantized("x", 0.0, computation=9e5), findings=findings)
    assert [tensor for tensor, _ in named(judgement)] == ["l2", "x"]
    assert judgement.culprits[0].text.endswith("gives 7 values that are NaN or infinite")


def test_a_refused_operator_is_a_culprit() -> None:
    refused = floating("x", None).model_copy(update={"own": None, "own_missing": "too large"})
    judgement = judged(refused, findings=Findings({}, {"x": "too large"}, {}))
    assert named(judgement) == [("x", "refused")]
    assert judgement.culprits[0].text.endswith("cannot be run alone: too large")


def test_a_wrong_scale_comes_before_its_readers() -> None:
    scale = quantized("scale", 35.0, step_ratio=2.0)
    reader = quantized("reader", 0.0, computation=9000.0)
    alone = judged(scale, reader)
    assert [item.tensor for item in alone.culprits] == ["reader", "scale"]
    findings = Findings({}, {}, {"reader": ("scale",)})
    judgement = judged(scale, reader, findings=findings)
    assert [item.tensor for item in judgement.culprits] == ["scale", "reader"]
    assert judgement.ranking[:2] == ("scale", "reader")


def test_another_model() -> None:
    layers = [quantized(f"a{i}", 2.0, computation=5000.0) for i in range(8)]
    assert judge(layers, NOTHING).alien
