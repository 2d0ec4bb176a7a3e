"""Variables of packages seen and replaced."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metrics import Unavailable
from edgekit.data.model_inputs import InputBatch
from edgekit.errors import InputError
from edgekit.graph.io import load_onnx, save_onnx
from edgekit.graph.observed_graph import ObservedGraph
from edgekit.measure.feeds import random_feeds
from edgekit.measure.layer_comparison import Subject, compare_layers
from edgekit.targets.coreml.observation import ObservedPackage
from edgekit.targets.coreml.target import CoreMLTarget
from edgekit.targets.coreml.toolchain import mb
from tests.targets.coreml.mil_packages import build
from tests.targets.coreml.quantized_packages import float_network, package_of, quantized
from tests.unit.quantization.graph_builder import GraphBuilder

type Array = npt.NDArray[Any]

FEEDS: dict[str, Array] = {
    "image": np.random.default_rng(0).standard_normal((1, 3, 12, 12)).astype(np.float32)
}


def float_package(model: ir.Model, folder: Path, **choices: Any) -> Path:
    path = folder / "network.onnx"
    save_onnx(model, path)
    source = Artifact.of(ArtifactKind.ONNX, path)
    return package_of(source, folder, **{"precision": "float32", **choices}).artifact.path


@pytest.fixture(scope="module")
def integer_package(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """The package and its QDQ graph."""
    folder = tmp_path_factory.mktemp("int8")
    source = quantized(folder)
    return package_of(source, folder).artifact.path, source.path


@pytest.mark.parametrize(("precision", "tolerance"), [("float32", 1e-5), ("float16", 2e-2)])
def test_a_float_package_has_the_graphs_values(
    precision: str, tolerance: float, tmp_path: Path
) -> None:
    session = ObservedPackage(float_package(float_network(), tmp_path, precision=precision))
    expected = ObservedGraph(float_network(), "").observe(FEEDS)
    found = session.observe(FEEDS)
    values = {tensor.canonical: found[tensor.name] for tensor in session.tensors}
    assert values.keys() == {"c1", "a1", "c2_merged", "p", "f", "scores"}
    for name, array in values.items():
        wanted = expected[name].reshape(array.shape)
        np.testing.assert_allclose(array, wanted, atol=tolerance, err_msg=name)
    assert {tensor.dtype for tensor in session.tensors} <= {precision, "float32"}
    assert "scores" in {t.canonical for t in session.tensors if t.is_output}
    assert "edgekit MIL runtime" in session.runtime


def test_operators_run_on_given_values(tmp_path: Path) -> None:
    session = ObservedPackage(float_package(float_network(), tmp_path))
    graph = ObservedGraph(float_network(), "")
    random = np.random.default_rng(1)
    given = {
        name: random.standard_normal(array.shape).astype(np.float32)
        for name, array in session.observe(FEEDS).items()
    }
    names = {tensor.canonical: tensor.name for tensor in session.tensors}
    found = session.compute(FEEDS, given).values
    expected = graph.compute(FEEDS, {key: given[name] for key, name in names.items()}).values
    for canonical, name in names.items():
        np.testing.assert_allclose(
            found[name], expected[canonical].reshape(found[name].shape), atol=1e-4
        )


def test_a_pair_is_one_tensor(integer_package: tuple[Path, Path]) -> None:
    package, qdq = integer_package
    session, graph = ObservedPackage(package), ObservedGraph(load_onnx(qdq), "")
    expected, found = graph.observe(FEEDS), session.observe(FEEDS)
    pairs = {tensor.canonical: tensor for tensor in graph.tensors if tensor.steps is not None}
    seen = {tensor.canonical: tensor for tensor in session.tensors if tensor.steps is not None}
    assert seen.keys() == pairs.keys()
    for name, tensor in seen.items():
        steps, other = tensor.steps, pairs[name].steps
        assert steps is not None
        assert other is not None
        assert (steps.scale, steps.zero_point) == (other.scale, other.zero_point)
        difference = np.abs(found[tensor.name] - expected[pairs[name].name])
        # End to end an integer may be rounded otherwise in float16.
        assert difference.max() <= 2.1 * steps.scale, name
    assert seen["a1"].operators == ("relu", "quantize")


def test_given_its_own_values_a_package_computes_the_same(
    integer_package: tuple[Path, Path],
) -> None:
    session = ObservedPackage(integer_package[0])
    seen = session.observe(FEEDS)
    found = session.compute(FEEDS, seen)
    assert found.refused == {}
    for name, array in seen.items():
        np.testing.assert_array_equal(found.values[name], array, err_msg=name)


def test_values_as_readers_read_them(integer_package: tuple[Path, Path]) -> None:
    session = ObservedPackage(integer_package[0])
    a1 = next(tensor for tensor in session.tensors if tensor.canonical == "a1")
    assert a1.steps is not None
    values = np.array([1e4, -1.0, 0.2], np.float32)
    np.testing.assert_array_equal(session.represent(a1.name, values), a1.steps.nearest(values))
    half = next(tensor for tensor in session.tensors if tensor.dtype == "float16")
    np.testing.assert_array_equal(
        session.represent(half.name, np.array([1.0001], np.float32)), np.array([1.0], np.float32)
    )


def test_a_layer_kept_in_float_reads_what_is_also_rounded(tmp_path: Path) -> None:
    """The rounding of a value that is read as float, too, begins with its operator."""
    source = quantized(tmp_path, keep_float=("dw_merged",))
    session = ObservedPackage(package_of(source, tmp_path).artifact.path)
    graph = ObservedGraph(float_network(), "")
    batches = [InputBatch(random_feeds(graph.signature, seed), None, 1) for seed in range(4)]
    result = compare_layers(
        Subject("float", "onnx", graph), [Subject("package", "coreml", session)], batches, "noise"
    )
    assert result.artifacts[0].culprits == ()
    assert all(layer.own is not None for layer in result.artifacts[0].layers)


def test_transpositions_that_passes_move(tmp_path: Path) -> None:
    """A variable keeps the name of its value, but not the order of its axes."""
    b = GraphBuilder()
    x = b.input("image", 1, 3, 3, 2)
    left = b.node("Transpose", "transpose_1", x, perm=[0, 2, 1, 3])
    right = b.node("Transpose", "transpose_2", b.relu("r", left), perm=[0, 2, 1, 3])
    product = b.node("MatMul", "product", right, b.node("Transpose", "t", x, perm=[0, 1, 3, 2]))
    model = b.build(product)
    session = ObservedPackage(float_package(model, tmp_path))
    graph = ObservedGraph(model, "")
    random = np.random.default_rng(2)
    batches = [
        InputBatch({"image": random.standard_normal((1, 3, 3, 2)).astype(np.float32)}, None, 1)
        for _ in range(3)
    ]
    result = compare_layers(
        Subject("float", "onnx", graph), [Subject("package", "coreml", session)], batches, "noise"
    )
    (found,) = result.artifacts
    layers = {layer.tensor: layer for layer in found.layers}
    assert {"r", "product"} <= layers.keys()
    for layer in layers.values():
        assert layer.cumulative.sqnr_db is None or layer.cumulative.sqnr_db > 100, layer.tensor
        assert layer.own is not None


def test_another_tools_package_has_names_of_its_own(tmp_path: Path) -> None:
    def body(x: Any) -> Any:
        return mb.relu(x=mb.add(x=x, y=np.float32(1.0), name="sum"), name="out")

    path = build(body, {"x": (1, 4)}, tmp_path / "foreign.mlpackage")
    session = ObservedPackage(path)
    assert [(tensor.canonical, tensor.named) for tensor in session.tensors][-1] == ("out", False)
    found = session.observe({"x": np.array([[-3.0, 0, 1, 2]], np.float32)})
    np.testing.assert_allclose(found["out"], [[0, 1, 2, 3]])


def test_bad_packages(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.mlpackage"):
        ObservedPackage(tmp_path / "nothing.mlpackage")


def test_the_target_gives_it(integer_package: tuple[Path, Path]) -> None:
    session = CoreMLTarget().observe(integer_package[0])
    assert not isinstance(session, Unavailable)
    assert session.signature.inputs[0].name == "image"
    session.close()
