from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest
import torch

from edgekit.core.quant import named_scheme
from edgekit.errors import InputError
from edgekit.graph.values import Array
from edgekit.quantization.adaround import (
    AdaRoundOptions,
    LayerProblem,
    adaround,
    annealed_beta,
    rectified_sigmoid,
    round_layer,
    rounding_regularizer,
)
from edgekit.quantization.calibration import calibrate
from edgekit.quantization.insertion import insert_qdq
from edgekit.quantization.layer_forward import layer_forward
from edgekit.quantization.parameters import compute_parameters, round_weights
from edgekit.quantization.place import place
from edgekit.quantization.quality import measure_sqnr
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import batches, constant, residual_net, run


def test_rectified_sigmoid_and_regularizer_follow_the_paper() -> None:
    variable = torch.tensor([-20.0, 0.0, 0.7, 20.0], dtype=torch.float64)
    sigmoid = 1 / (1 + np.exp(-variable.numpy()))
    expected = np.clip(sigmoid * 1.2 - 0.1, 0, 1)
    np.testing.assert_allclose(rectified_sigmoid(variable).numpy(), expected, rtol=1e-6)
    total = np.sum(1 - np.abs(2 * expected - 1) ** 3)
    assert float(rounding_regularizer(variable, 3.0)) == pytest.approx(total)
    assert float(rounding_regularizer(variable[[0, 3]], 3.0)) == 0.0


def test_beta_falls_from_twenty_to_two_after_the_warm_up() -> None:
    values = [annealed_beta(step, 100) for step in range(100)]
    assert values[:20] == [None] * 20
    annealed = [item for item in values if item is not None]
    assert annealed[0] == 20.0
    assert annealed == sorted(annealed, reverse=True)
    assert 2.0 <= annealed[-1] < 2.1


def _problem(bits: int = 4) -> LayerProblem:
    """A dense layer whose inputs are correlated, so that nearest rounding is not the best."""
    random = np.random.default_rng(0)
    weights = random.standard_normal((6, 8)).astype(np.float32)
    scale = (np.abs(weights).max(axis=1) / (2 ** (bits - 1) - 1)).astype(np.float32)
    mixing = random.standard_normal((2, 8))
    inputs = (random.standard_normal((64, 2)) @ mixing + 0.5).astype(np.float32)
    return LayerProblem(
        forward=lambda values, matrix: values @ matrix.T,
        weights=torch.from_numpy(weights),
        nearest=round_weights(weights, scale, bits, 0),
        bits=bits,
        bias=torch.zeros(6),
        clamp=(-math.inf, math.inf),
        inputs=torch.from_numpy(inputs),
        quantized_inputs=torch.from_numpy(inputs),
    )


def test_learned_rounding_has_far_less_error_than_nearest() -> None:
    rounding = round_layer(_problem(), AdaRoundOptions(iterations=400))
    assert rounding.error < 0.5 * rounding.nearest_error


def test_each_weight_goes_to_one_of_its_two_neighbours() -> None:
    problem = _problem()
    rounding = round_layer(problem, AdaRoundOptions(iterations=200))
    exact = problem.weights.numpy() / problem.nearest.spread_scale()
    distance = np.abs(rounding.integers.astype(np.float64) - exact)
    assert distance.max() <= 1.0 + 1e-5
    assert np.abs(rounding.integers.astype(np.int32)).max() <= 7
    assert (rounding.integers != problem.nearest.integers).any()


def test_a_weight_that_is_zero_stays_zero() -> None:
    """A sparse layer is as sparse on integers."""
    problem = _problem()
    gone = problem.weights.abs() < problem.weights.abs().median()
    weights = torch.where(gone, 0.0, problem.weights)
    nearest = round_weights(weights.numpy(), problem.nearest.scale, problem.bits, 0)
    rounding = round_layer(
        replace(problem, weights=weights, nearest=nearest), AdaRoundOptions(iterations=400)
    )
    assert (rounding.integers[gone.numpy()] == 0).all()
    assert (rounding.integers != nearest.integers).any()


def test_nearest_is_kept_where_learning_did_not_help() -> None:
    problem = _problem()
    rounding = round_layer(problem, AdaRoundOptions(iterations=3, learning_rate=50.0))
    assert rounding.error <= rounding.nearest_error


def test_same_seed_gives_the_same_rounding() -> None:
    options = AdaRoundOptions(iterations=50, batch=8)
    first, second = round_layer(_problem(), options), round_layer(_problem(), options)
    np.testing.assert_array_equal(first.integers, second.integers)


def test_activation_hides_errors_that_it_cuts_off() -> None:
    problem = replace(_problem(), clamp=(0.0, 0.0))
    rounding = round_layer(problem, AdaRoundOptions(iterations=2))
    assert rounding.nearest_error == 0.0


@pytest.mark.parametrize(
    ("op_type", "weight_shape", "attributes"),
    [
        ("Conv", (6, 4, 3, 3), {"pads": [1, 0, 2, 1], "strides": [2, 1]}),
        ("Conv", (6, 4, 3, 3), {"dilations": [2, 2]}),
        ("Conv", (6, 4, 3, 2), {"auto_pad": "SAME_UPPER", "strides": [2, 2]}),
        ("Conv", (6, 4, 3, 2), {"auto_pad": "SAME_LOWER", "strides": [2, 2]}),
        ("Conv", (8, 1, 3, 3), {"group": 4, "pads": [1, 1, 1, 1]}),
        ("ConvTranspose", (4, 3, 3, 3), {"strides": [2, 2], "pads": [1, 1, 1, 1]}),
        ("ConvTranspose", (4, 3, 2, 2), {"group": 2, "strides": [2, 2], "output_padding": [1, 1]}),
        ("MatMul", (7, 5), {}),
    ],
)
def test_layer_as_torch_function_equals_onnx_runtime(
    op_type: str, weight_shape: tuple[int, ...], attributes: dict[str, Any]
) -> None:
    b = GraphBuilder()
    x = b.input("x", 2, 4, 9, 7)
    b.node(op_type, "layer", x, b.random("w", *weight_shape), **attributes)
    model = b.build("layer")
    forward = layer_forward(model.graph[0])
    assert not isinstance(forward, str)
    values = np.random.default_rng(1).standard_normal((2, 4, 9, 7)).astype(np.float32)
    weights = constant(model, "w")
    result = forward(torch.from_numpy(values), torch.from_numpy(weights.copy()))
    (expected,) = run(model, {"x": values}).values()
    np.testing.assert_allclose(result.numpy(), expected, rtol=1e-4, atol=1e-4)


def test_uneven_padding_of_a_transposed_convolution_says_why_not() -> None:
    b = GraphBuilder()
    x = b.input("x", 1, 4, 5, 5)
    b.node("ConvTranspose", "up", x, b.random("w", 4, 3, 3, 3), pads=[1, 1, 0, 0])
    assert layer_forward(b.build("up").graph[0]) == "its padding is not the same on both sides"


def _feeds() -> Iterator[dict[str, Array]]:
    return batches(4, 16)


def _quantized(bits: int) -> tuple[ir.Model, list[float]]:
    model = residual_net()
    scheme = named_scheme("int8").model_copy(
        update={"weights": named_scheme("int8").weights.model_copy(update={"bits": bits})}  # type: ignore[union-attr]
    )
    placement = place(model, scheme)
    calibration = calibrate(model, placement, _feeds())
    nearest = compute_parameters(model, placement, calibration.ranges("minmax", placement))
    learned, notes = adaround(
        model, placement, nearest, _feeds, AdaRoundOptions(iterations=150, samples=40)
    )
    assert notes == ()
    for name, layer in nearest.layers.items():
        np.testing.assert_array_equal(layer.weight.scale, learned.layers[name].weight.scale)
        assert layer.bias is learned.layers[name].bias
    graphs = [insert_qdq(model, placement, item) for item in (nearest, learned)]
    return model, measure_sqnr(model, graphs, batches(4, 16, seed=1))


def test_whole_graph_gains_on_data_it_was_not_fitted_to() -> None:
    _, (nearest, learned) = _quantized(4)
    assert learned > nearest + 2.0


def test_no_data() -> None:
    model = residual_net()
    placement = place(model, named_scheme("int8"))
    ranges = calibrate(model, placement, _feeds()).ranges("minmax", placement)
    parameters = compute_parameters(model, placement, ranges)
    with pytest.raises(InputError, match="No data for AdaRound"):
        adaround(model, placement, parameters, lambda: iter(()))
