from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest
from pydantic import ValidationError

from edgekit.core.quant import QuantScheme, named_scheme
from edgekit.errors import ConfigError, InputError
from edgekit.graph.values import Array
from edgekit.quantization.ptq import PtqOptions, PtqResult, quantize_ptq
from tests.unit.quantization.graph_builder import GraphBuilder
from tests.unit.quantization.graphs import Scored, batches, residual_net, run

INT8 = named_scheme("int8")


def _feeds() -> Iterator[dict[str, Array]]:
    return batches(8, 8)


def _chosen(result: PtqResult) -> str:
    (row,) = (row for row in result.table if row.chosen)
    return row.name


def test_auto_tries_all_methods_and_takes_the_best() -> None:
    result = quantize_ptq(residual_net(), _feeds, INT8)
    assert [row.name for row in result.table] == [
        "minmax", "moving-average", "percentile", "mse", "entropy",
    ]  # fmt: skip
    ratios = {row.name: row.sqnr_db for row in result.table}
    best = max(ratio for ratio in ratios.values() if ratio is not None)
    assert ratios[_chosen(result)] == best
    assert best > 25
    assert result.notes == ()


def test_result_runs_and_is_near_the_float_graph() -> None:
    model = residual_net()
    result = quantize_ptq(model, _feeds, INT8, PtqOptions(method="mse"))
    feeds = next(batches(1, 16, seed=9))
    expected = run(model, feeds)["fc"]
    found = run(result.model, feeds)["fc"]
    assert np.linalg.norm(found - expected) < 0.05 * np.linalg.norm(expected)
    assert result.placement.float_reasons == ()


def test_data_is_held_out_only_to_choose() -> None:
    def minmax_of(batch_numbers: list[int]) -> PtqResult:
        chosen = [batch for index, batch in enumerate(batches(8, 8)) if index in batch_numbers]
        options = PtqOptions(method="minmax")
        return quantize_ptq(residual_net(), lambda: iter(chosen), INT8, options)

    calls: list[ir.Model] = []

    def first_is_best(model: ir.Model) -> float:
        calls.append(model)
        return 1.0 if len(calls) == 1 else 0.0

    auto = quantize_ptq(residual_net(), _feeds, INT8, metric=Scored(first_is_best))
    assert _chosen(auto) == "minmax"
    # Batches 3 and 7 did not fit when there was a choice to make.
    assert auto.parameters.groups == minmax_of([0, 1, 2, 4, 5, 6]).parameters.groups
    assert auto.parameters.groups != minmax_of(list(range(8))).parameters.groups


def test_metric_decides_where_it_is_given() -> None:
    calls: list[ir.Model] = []

    def metric(model: ir.Model) -> float:
        calls.append(model)
        return 1.0 if len(calls) == 3 else 0.5

    result = quantize_ptq(residual_net(), _feeds, INT8, metric=Scored(metric))
    assert _chosen(result) == "percentile"
    assert result.model is calls[2]


def test_accuracies_within_the_noise_are_equal() -> None:
    """The lucky third candidate does not win against the one with the least noise."""
    calls: list[ir.Model] = []

    def metric(model: ir.Model) -> float:
        calls.append(model)
        return 0.91 if len(calls) == 3 else 0.9

    result = quantize_ptq(residual_net(), _feeds, INT8, metric=Scored(metric, 0.02))
    best = max(result.table, key=lambda row: row.sqnr_db or 0.0)
    assert best.chosen
    assert best.metric == 0.9


def test_refinements_are_tried_on_the_best_and_kept_only_if_better() -> None:
    options = PtqOptions(
        method="minmax", equalize=True, bias_correction=True, adaround=True,
        adaround_iterations=40, adaround_samples=24,
    )  # fmt: skip
    result = quantize_ptq(residual_net(), _feeds, INT8, options)
    names = [row.name for row in result.table]
    assert names[:2] == ["minmax", "minmax+equalized"]
    assert names[2].endswith("+bias-correction")
    assert names[3].endswith("+adaround")
    assert len(names) == 4
    best = max(row.sqnr_db for row in result.table if row.sqnr_db is not None)
    assert [row.sqnr_db for row in result.table if row.chosen] == [best]


def test_sensitivity_on_request() -> None:
    options = PtqOptions(method="minmax", sensitivity=True)
    result = quantize_ptq(residual_net(), _feeds, INT8, options)
    assert {item.layer for item in result.sensitivity} == {
        "conv1", "conv2", "conv3", "add", "pool", "fc",
    }  # fmt: skip


@pytest.mark.parametrize("fallback", ["float", "int16"])
def test_max_drop_leaves_only_the_layer_that_costs_accuracy(fallback: str) -> None:
    def metric(model: ir.Model) -> float:
        """Accuracy that suffers from 8-bit activations behind conv2 alone."""
        return 0.7 if _reads_eight_bits(model, "conv2") else 0.9

    options = PtqOptions.model_validate(
        {"method": "minmax", "max_drop": 0.05, "fallback": fallback}
    )
    result = quantize_ptq(residual_net(), _feeds, INT8, options, metric=Scored(metric))
    assert result.float_metric == 0.9
    assert result.mixed_precision is not None
    assert result.mixed_precision.met
    assert result.mixed_precision.layers == ("conv2",)
    assert result.sensitivity[0].layer == "conv2"
    assert metric(result.model) == 0.9
    assert any("1 layers stay in" in note.text for note in result.notes)
    kept = {"float": ("conv2",), "int16": ()}[fallback]
    assert tuple(name for name, _ in result.placement.float_reasons) == kept
    run(result.model, next(batches()))


def _reads_eight_bits(model: ir.Model, name: str) -> bool:
    node = next(node for node in model.graph if node.name == name)
    producer = node.inputs[1].producer() if node.inputs[1] is not None else None
    data = node.inputs[0].producer() if node.inputs[0] is not None else None
    if producer is None or data is None or data.inputs[0] is None:
        return False
    return data.inputs[0].dtype == ir.DataType.INT8


def test_max_drop_that_holds_changes_nothing() -> None:
    options = PtqOptions(method="minmax", max_drop=0.1)
    result = quantize_ptq(residual_net(), _feeds, INT8, options, metric=Scored(lambda model: 0.8))
    assert result.mixed_precision is None
    assert result.float_metric == 0.8


def test_max_drop_needs_a_metric() -> None:
    with pytest.raises(ConfigError, match="max_drop needs labelled data"):
        quantize_ptq(residual_net(), _feeds, INT8, PtqOptions(max_drop=0.1))


def test_weights_alone_need_no_data() -> None:
    result = quantize_ptq(residual_net(), lambda: iter(()), named_scheme("int8-weights"))
    assert [(row.name, row.sqnr_db) for row in result.table] == [("weights", None)]
    measured = quantize_ptq(residual_net(), _feeds, named_scheme("int8-weights"))
    ratio = measured.table[0].sqnr_db
    assert ratio is not None
    assert ratio > 35


def test_float16_leaves_the_graph_to_the_target() -> None:
    result = quantize_ptq(residual_net(), _feeds, named_scheme("float16"))
    assert not any(node.op_type == "DequantizeLinear" for node in result.model.graph)
    assert result.notes[0].text.startswith("Scheme 'float16' leaves the graph float")


def test_quantized_graph_comes_back_as_it_is() -> None:
    first = quantize_ptq(residual_net(), _feeds, INT8, PtqOptions(method="minmax"))
    again = quantize_ptq(first.model, _feeds, INT8)
    assert again.placement.already_quantized
    assert ir.to_proto(again.model) == ir.to_proto(first.model)
    assert "quantized already" in again.notes[0].text


def test_interrupted_run_continues_from_its_state(tmp_path: Path) -> None:
    options = PtqOptions(state=tmp_path / "calibration.npz")

    def interrupted() -> Iterator[dict[str, Array]]:
        yield from batches(2, 8)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        quantize_ptq(residual_net(), interrupted, INT8, options)
    resumed = quantize_ptq(residual_net(), _feeds, INT8, options)
    straight = quantize_ptq(residual_net(), _feeds, INT8)
    assert resumed.table == straight.table
    assert ir.to_proto(resumed.model) == ir.to_proto(straight.model)


def test_what_stays_float_is_told() -> None:
    result = quantize_ptq(
        residual_net(), _feeds, QuantScheme(keep_float=("conv2",)), PtqOptions(method="minmax")
    )
    assert [(note.where, note.text) for note in result.notes] == [
        ("conv2", "Computes in float: kept in float by the pattern 'conv2'")
    ]


def test_graph_without_anything_to_quantize() -> None:
    b = GraphBuilder()
    b.node("Sin", "sin", b.input("image", "batch", 3, 8, 8))
    result = quantize_ptq(b.build("sin"), _feeds, INT8)
    assert [node.op_type for node in result.model.graph] == ["Sin"]
    assert "Nothing in the graph could be quantized" in {note.text for note in result.notes}


def test_few_batches_are_told() -> None:
    result = quantize_ptq(residual_net(), lambda: batches(2), INT8)
    assert [note.text for note in result.notes] == [
        "Too few calibration batches to hold one out; all were used to compare, too"
    ]


def test_empty_calibration_set() -> None:
    with pytest.raises(InputError, match="The calibration set is empty"):
        quantize_ptq(residual_net(), lambda: iter(()), INT8)


def test_torch_is_loaded_only_for_adaround() -> None:
    program = "import sys, edgekit.quantization.ptq; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program], check=False).returncode == 0


def test_options_are_checked() -> None:
    with pytest.raises(ValidationError, match="less than or equal to 100"):
        PtqOptions(percentile=101)
