"""Own and inherited error of layers, on graphs small enough to say what they must be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.core.layer_error import ArtifactErrors, LayerComparison
from edgekit.core.observation import Computed
from edgekit.data.model_inputs import InputBatch
from edgekit.errors import InputError
from edgekit.graph.observed_graph import ObservedGraph
from edgekit.measure.layer_comparison import Subject, compare_layers
from tests.qdq_graphs import insert_qdq
from tests.unit.quantization.graph_builder import GraphBuilder

type Array = npt.NDArray[Any]

_RANDOM = np.random.default_rng(0)
BATCHES = [
    InputBatch(
        {"x": _RANDOM.standard_normal((2, 3, 6, 6)).astype(np.float32)}, np.array([0, 1]), 2
    )
    for _ in range(4)
]


def network(seed: int = 0, *, spoil: str = "", classes: int = 4) -> ir.Model:
    """conv, relu, conv, relu, pool, scores; ``spoil`` turns the weights of one layer around."""
    b = GraphBuilder(seed)
    x = b.relu("r1", b.conv("c1", b.input("x", "batch", 3, 6, 6), 3, 8))
    x = b.relu("r2", b.conv("c2", x, 8, 8))
    flat = b.node("Flatten", "flat", b.node("GlobalAveragePool", "pool", x))
    weight, bias = b.random("w", classes, 8), b.random("b", classes)
    model = b.build(b.node("Gemm", "scores", flat, weight, bias, transB=1))
    if spoil:
        value = model.graph.initializers[spoil]
        assert value.const_value is not None
        array = np.ascontiguousarray(value.const_value.numpy()[::-1])
        value.const_value = ir.tensor(array, name=value.name)
    return model


def subject(model: ir.Model, name: str = "graph") -> Subject:
    return Subject(name, "onnx", ObservedGraph(model, "ONNX Runtime"))


def compared(reference: ir.Model, *artifacts: ir.Model, **more: Any) -> LayerComparison:
    subjects = [subject(model, f"artifact{place}") for place, model in enumerate(artifacts)]
    return compare_layers(
        subject(reference, "reference"), subjects, more.get("batches", BATCHES), "noise"
    )


def errors(reference: ir.Model, artifact: ir.Model) -> ArtifactErrors:
    return compared(reference, artifact).artifacts[0]


def test_own_error_stands_where_it_is_made() -> None:
    found = errors(network(), network(spoil="c2.weight"))
    own = {layer.tensor: layer.own for layer in found.layers}
    equal = {name: figures is not None and figures.equal for name, figures in own.items()}
    assert equal == {
        "c1": True, "r1": True, "c2": False, "r2": True, "pool": True, "flat": True,
        "scores": True,
    }  # fmt: skip
    inherited = {layer.tensor: layer.own_share for layer in found.layers}
    assert (inherited["c2"], inherited["scores"], inherited["r1"]) == (1.0, 0.0, None)
    assert not found.layer("scores").cumulative.equal
    assert found.culprits[0].tensor == "c2"
    assert found.culprits[0].layer == "c2"


def test_figures_of_a_layer_are_those_of_numpy() -> None:
    reference, artifact = network(), network(spoil="c2.weight")
    layer = errors(reference, artifact).layer("c2")
    wanted = np.concatenate([subject(reference).session.observe(b.feeds)["c2"] for b in BATCHES])
    got = np.concatenate([subject(artifact).session.observe(b.feeds)["c2"] for b in BATCHES])
    ratio = 10 * np.log10(np.sum(wanted.astype(float) ** 2) / np.sum((got - wanted) ** 2.0))
    assert layer.cumulative.sqnr_db == pytest.approx(ratio)
    assert layer.own == layer.cumulative
    assert layer.cumulative.max_abs == pytest.approx(np.abs(got - wanted).max())


def test_several_artifacts_in_one_comparison() -> None:
    result = compared(network(), network(), network(spoil="c1.weight"))
    assert [item.name for item in result.artifacts] == ["artifact0", "artifact1"]
    assert result.artifacts[0].verdict.startswith("No difference: all 7 tensors are equal")
    assert [item.tensor for item in result.artifacts[1].culprits] == ["c1"]
    assert (result.reference, result.dataset, result.samples) == ("reference", "noise", 8)


def best_classes(model: ir.Model) -> Array:
    session = subject(model).session
    scores = [session.observe(batch.feeds)["scores"] for batch in BATCHES]
    return np.asarray(np.concatenate(scores).argmax(1))


def test_agreement_and_accuracy() -> None:
    reference, artifact = network(), network(spoil="w")
    labels = best_classes(reference).copy()
    labels[:3] = (labels[:3] + 1) % 4
    batches = [
        InputBatch(batch.feeds, labels[2 * place : 2 * place + 2], 2)
        for place, batch in enumerate(BATCHES)
    ]
    result = compared(reference, artifact, batches=batches)
    found = result.artifacts[0]
    assert result.reference_accuracy is not None
    assert found.agreement is not None
    assert found.accuracy is not None
    assert (result.reference_accuracy.hits, result.reference_accuracy.n) == (5, 8)
    same = int((best_classes(artifact) == best_classes(reference)).sum())
    assert (found.agreement.hits, found.agreement.n) == (same, 8)
    assert found.accuracy.hits == int((best_classes(artifact) == labels).sum())


def test_a_quantized_graph_against_its_float_form() -> None:
    reference = network()
    images = np.concatenate([batch.feeds["x"] for batch in BATCHES])
    found = errors(reference, insert_qdq(reference, {"x": images}))
    assert found.culprits == ()
    layer = found.layer("r1")
    assert (layer.dtype, layer.operators) == ("int8", ("Relu", "QuantizeLinear"))
    assert layer.own is not None
    assert layer.parts is not None
    assert layer.scale is not None
    # Relu alone, on values that both read alike: what is left is rounding to steps.
    assert layer.own.lsb is not None
    assert layer.own.lsb < 80
    assert layer.parts.rounding <= layer.scale**2 / 12 * 1.2
    assert layer.parts.computation < layer.scale**2 / 1200
    assert found.layer("x").own is not None


def test_fixed_batches_that_are_filled_up_count_once() -> None:
    batches = [InputBatch(BATCHES[0].feeds, np.array([1]), 1)]
    result = compared(network(), network(), batches=batches)
    assert result.samples == 1
    assert result.artifacts[0].agreement is not None
    assert result.artifacts[0].agreement.n == 1


def test_no_samples() -> None:
    with pytest.raises(InputError, match="Data set 'noise' gives no samples to compare on"):
        compared(network(), network(), batches=[])


def test_nan_in_the_data() -> None:
    image = BATCHES[0].feeds["x"].copy()
    image[0, 1, 2, 3] = np.nan
    batches = [BATCHES[0], InputBatch({"x": image}, None, 2)]
    with pytest.raises(
        InputError, match="'noise', sample 2: 1 of 216 values of input 'x' are NaN or infinite"
    ):
        compared(network(), network(), batches=batches)


def test_another_model() -> None:
    b = GraphBuilder()
    other = b.build(b.relu("r", b.input("x", "batch", 3, 5, 5)))
    with pytest.raises(InputError, match="They are not the same model"):
        compared(network(), other)


def test_no_tensors_in_common() -> None:
    b = GraphBuilder()
    other = b.build(b.relu("other", b.input("x", "batch", 3, 6, 6)))
    with pytest.raises(
        InputError, match=r"have no tensors in common, .*other: the reference has no value 'other'"
    ):
        compared(network(), other)


class Broken(ObservedGraph):
    """Gives NaN in one tensor, and refuses to run the operators of another alone."""

    def observe(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        return {**super().observe(feeds), "r1": np.full((2, 8, 6, 6), np.nan, np.float32)}

    def compute(self, feeds: Mapping[str, Array], given: Mapping[str, Array]) -> Computed:
        found = super().compute(feeds, given)
        del found.values["c2"]
        return Computed(found.values, {"c2": "the kernel is missing"})


def test_nan_and_refusal_are_findings() -> None:
    broken = Subject("broken", "onnx", Broken(network(), "broken runtime"))
    result = compare_layers(subject(network()), [broken], BATCHES, "noise")
    found = result.artifacts[0]
    assert [(item.tensor, item.cause) for item in found.culprits] == [
        ("r1", "not-finite"), ("c2", "refused"),
    ]  # fmt: skip
    assert found.layer("c2").own is None
    assert found.layer("c2").own_missing == "the kernel is missing"
    assert "gives 2304 values that are NaN or infinite" in found.culprits[0].text
    assert found.layer("c1").own is not None


def test_nan_in_the_reference_is_told() -> None:
    class NoNumbers(ObservedGraph):
        def observe(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
            return {**super().observe(feeds), "r1": np.full((2, 8, 6, 6), np.nan, np.float32)}

    reference = Subject("reference", "onnx", NoNumbers(network(), ""))
    result = compare_layers(reference, [subject(network())], BATCHES, "noise")
    layer = result.artifacts[0].layer("r1")
    assert layer.own is None
    assert layer.own_missing == "the reference has NaN or infinity here"


def test_the_result_survives_json() -> None:
    result = compared(network(), network(spoil="c2.weight"))
    assert LayerComparison.model_validate_json(result.model_dump_json()) == result
