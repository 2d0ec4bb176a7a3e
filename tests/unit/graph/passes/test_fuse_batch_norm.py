from __future__ import annotations

import numpy as np
import pytest

from edgekit.graph.passes.fuse_batch_norm import FuseBatchNorm
from tests.unit.graph.onnx_text import apply, graph, ops, positive, random


def _statistics(channels: int) -> dict[str, np.ndarray[tuple[int, ...], np.dtype[np.float32]]]:
    return {
        "scale": random(channels, seed=1),
        "bias": random(channels, seed=2),
        "mean": random(channels, seed=3),
        "var": positive(channels, seed=4),
    }


@pytest.mark.parametrize(
    ("layer", "weights", "channels"),
    [
        ("Conv <group = 1> (x, w)", (6, 4, 3, 3), 6),
        ("Conv <group = 2> (x, w, b)", (6, 2, 3, 3), 6),
        ("ConvTranspose (x, w)", (4, 6, 2, 2), 6),
        ("ConvTranspose <group = 2, strides = [2, 2]> (x, w, b)", (4, 3, 2, 2), 6),
    ],
)
def test_folds_into_the_convolution_before_it(
    layer: str, weights: tuple[int, ...], channels: int
) -> None:
    model = graph(
        f"(float[2,4,6,6] x) => (float[2,6,h,w2] y) {{ c = {layer} "
        "y = BatchNormalization <epsilon = 0.01> (c, scale, bias, mean, var) }",
        w=random(*weights),
        b=random(channels, seed=9),
        **_statistics(channels),
    )
    assert apply(model, FuseBatchNorm())
    assert sum(ops(model).values()) == 1


@pytest.mark.parametrize("transposed", [0, 1])
@pytest.mark.parametrize("bias", ["", ", b"])
def test_folds_into_gemm_with_its_factors(transposed: int, bias: str) -> None:
    model = graph(
        "(float[3,4] x) => (float[3,5] y) { "
        f"c = Gemm <alpha = 0.5, beta = 2.0, transB = {transposed}> (x, w{bias}) "
        "y = BatchNormalization (c, scale, bias, mean, var) }",
        w=random(5, 4) if transposed else random(4, 5),
        b=random(5, seed=9),
        **_statistics(5),
    )
    assert apply(model, FuseBatchNorm())
    assert ops(model) == {"Gemm": 1}


def test_after_a_shared_convolution_becomes_mul_and_add() -> None:
    model = graph(
        "(float[1,3,4,4] x) => (float[1,3,4,4] y, float[1,3,4,4] z) { "
        "c = Conv (x, w) y = BatchNormalization (c, scale, bias, mean, var) z = Relu (c) }",
        w=random(3, 3, 1, 1),
        **_statistics(3),
    )
    assert apply(model, FuseBatchNorm())
    assert ops(model) == {"Conv": 1, "Mul": 1, "Add": 1, "Relu": 1}


@pytest.mark.parametrize("shape", ["2,3", "2,3,7", "2,3,4,4", "2,3,2,2,2"])
def test_alone_becomes_mul_and_add_at_any_rank(shape: str) -> None:
    model = graph(
        f"(float[{shape}] x) => (float[{shape}] y) "
        "{ y = BatchNormalization (x, scale, bias, mean, var) }",
        **_statistics(3),
    )
    assert apply(model, FuseBatchNorm())
    assert ops(model) == {"Mul": 1, "Add": 1}


def test_the_weights_of_a_shared_initializer_are_not_changed_for_others() -> None:
    model = graph(
        "(float[1,3,4,4] x) => (float[1,3,4,4] y, float[1,3,4,4] z) { "
        "c = Conv (x, w) y = BatchNormalization (c, scale, bias, mean, var) z = Conv (x, w) }",
        w=random(3, 3, 1, 1),
        **_statistics(3),
    )
    assert apply(model, FuseBatchNorm())
    assert ops(model) == {"Conv": 2}


def test_training_mode_stays_with_a_reason() -> None:
    model = graph(
        "(float[2,3,4,4] x) => (float[2,3,4,4] y, float[3] m, float[3] v) "
        "{ y, m, v = BatchNormalization <training_mode = 1> (x, scale, bias, mean, var) }",
        **_statistics(3),
    )
    graph_pass = FuseBatchNorm()
    assert not apply(model, graph_pass)
    assert "batch statistics" in graph_pass.notes[0].text


def test_parameters_that_are_inputs_stay_with_a_reason() -> None:
    statistics = _statistics(3)
    del statistics["scale"]
    model = graph(
        "(float[2,3,4,4] x, float[3] scale) => (float[2,3,4,4] y) "
        "{ y = BatchNormalization (x, scale, bias, mean, var) }",
        **statistics,
    )
    graph_pass = FuseBatchNorm()
    assert not apply(model, graph_pass)
    assert "not constant" in graph_pass.notes[0].text
