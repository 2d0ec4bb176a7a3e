from __future__ import annotations

import onnx_ir as ir
import pytest

from edgekit.core.quant import named_scheme
from edgekit.errors import ConfigError
from edgekit.quantization.calibration import calibrate
from edgekit.quantization.mixed_precision import search_mixed_precision, with_fallback
from edgekit.quantization.place import place
from edgekit.quantization.sensitivity import LayerSensitivity, analyse_sensitivity
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import Scored, batches, residual_net

ORDER = [LayerSensitivity(layer=name, op_type="Conv", sqnr_db=10.0) for name in "abcde"]


def test_search_adds_the_worst_layers_and_takes_back_what_is_not_needed() -> None:
    # Only a and c cost accuracy.
    costs = {"a": 0.5, "c": 0.2}

    def evaluate(layers: tuple[str, ...]) -> float:
        return 1.0 - sum(cost for layer, cost in costs.items() if layer not in layers)

    found = search_mixed_precision(ORDER, evaluate, 0.95)
    assert found.met
    assert found.layers == ("a", "c")
    assert [trial.layers for trial in found.trials] == [
        (), ("a",), ("a", "b"), ("a", "b", "c", "d"), ("a", "b", "c"), ("a", "c"), ("c",),
    ]  # fmt: skip
    assert [trial.met for trial in found.trials] == [False, False, False, True, True, True, False]


def test_nothing_is_left_where_nothing_is_lost() -> None:
    found = search_mixed_precision(ORDER, lambda layers: 1.0, 0.95)
    assert (found.layers, found.met, len(found.trials)) == ((), True, 1)


def test_accuracy_that_cannot_be_reached() -> None:
    found = search_mixed_precision(ORDER, lambda layers: 0.5, 0.95)
    assert not found.met
    assert found.layers == ("a", "b", "c", "d", "e")
    assert [len(trial.layers) for trial in found.trials] == [0, 1, 2, 4, 5]


def test_fallback_names_layers_literally() -> None:
    scheme = with_fallback(named_scheme("int8"), ["block[0].conv"], "float")
    assert scheme.choice_for("block[0].conv").keep_float
    assert not scheme.choice_for("block0.conv").keep_float
    wide = with_fallback(named_scheme("int8"), ["a*b"], "int16")
    activations = [wide.choice_for(name).activations for name in ("a*b", "aab")]
    assert [item and item.bits for item in activations] == [16, 8]


def test_fallback_against_the_users_own_override_is_told() -> None:
    scheme = named_scheme("int8").model_validate(
        {"overrides": [{"pattern": "a", "activation_bits": 8}]}
    )
    with pytest.raises(ConfigError, match="contradict each other on activation_bits"):
        with_fallback(scheme, ["a"], "int16").choice_for("a")


def test_sensitivity_ranks_the_layer_that_suffers_most() -> None:
    b = GraphBuilder()
    x = b.relu("act1", b.conv("first", b.input("image", "batch", 3, 8, 8), 3, 8))
    # One channel of its output is a thousand times larger, and the next layer undoes that.
    factors = [1000.0] + [1.0] * 7
    x = b.node("Conv", "spread", x, b.constant("w1", _diagonal(factors)), group=8)
    x = b.node("Conv", "undo", x, b.constant("w2", _diagonal([1 / f for f in factors])), group=8)
    b.conv("last", b.relu("act2", x), 8, 4)
    model = b.build("last")
    scheme = named_scheme("int8")
    placement = place(model, scheme)
    calibration = calibrate(model, placement, batches())
    found = analyse_sensitivity(model, scheme, placement, calibration, "minmax", batches)
    assert {item.layer for item in found} == {"first", "spread", "undo", "last"}
    assert {item.layer for item in found[:2]} == {"spread", "undo"}
    assert found[0].sqnr_db < found[2].sqnr_db - 10
    assert [item.sqnr_db for item in found] == sorted(item.sqnr_db for item in found)


def _diagonal(factors: list[float]) -> list[list[list[list[float]]]]:
    return [[[[factor]]] for factor in factors]


def test_sensitivity_by_accuracy_where_it_is_measured() -> None:
    model = residual_net()
    scheme = named_scheme("int8")
    placement = place(model, scheme)
    calibration = calibrate(model, placement, batches())

    def metric(quantized: ir.Model) -> float:
        names = {node.name for node in quantized.graph}
        return 0.1 if "relu3/quantize" in names else 0.9

    found = analyse_sensitivity(
        model, scheme, placement, calibration, "minmax", batches, metric=Scored(metric)
    )
    # The value relu3 is written by add and read by pool.
    assert {item.layer for item in found[:2]} == {"add", "pool"}
    assert [item.metric for item in found] == [0.1, 0.1, *[0.9] * (len(found) - 2)]
