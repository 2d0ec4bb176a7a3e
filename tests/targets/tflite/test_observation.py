"""Tensors of .tflite files seen and replaced."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metrics import Unavailable
from edgekit.core.target import LowerConfig, Lowered
from edgekit.errors import InputError, UnsupportedError, UsageError
from edgekit.graph.io import save_onnx
from edgekit.graph.observed_graph import ObservedGraph
from edgekit.targets.tflite import observation
from edgekit.targets.tflite.exactness.fragment import Fragment
from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from edgekit.targets.tflite.observation import ObservedFile
from edgekit.targets.tflite.target import create_target
from tests.qdq_graphs import insert_qdq
from tests.targets.tflite.planted_faults import planted
from tests.unit.quantization.graph_builder import GraphBuilder

type Array = npt.NDArray[Any]

FEEDS: dict[str, Array] = {
    "x": np.random.default_rng(0).standard_normal((1, 3, 8, 8)).astype(np.float32)
}


def network() -> ir.Model:
    """Two convolutions with activations, an average, and an operator of several in TFLite."""
    b = GraphBuilder()
    x = b.relu("r1", b.conv("c1", b.input("x", 1, 3, 8, 8), 3, 4))
    x = b.relu6("r2", b.conv("c2", x, 4, 6))
    x = b.node("Flatten", "flat", b.node("GlobalAveragePool", "pool", x))
    scale, bias = b.random("g", 6), b.random("n", 6)
    return b.build(b.node("LayerNormalization", "norm", x, scale, bias))


def lowered(model: ir.Model, precision: str, folder: Path, **choices: Any) -> Path:
    path = folder / f"network-{precision}.onnx"
    save_onnx(model, path)
    kind = ArtifactKind.ONNX if precision == "float32" else ArtifactKind.QDQ_ONNX
    config = LowerConfig.model_validate({"precision": precision, **choices})
    made = create_target().lower(Artifact.of(kind, path), config, folder)
    assert isinstance(made, Lowered)
    return made.artifact.path


@pytest.fixture(scope="module")
def float_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lowered(network(), "float32", tmp_path_factory.mktemp("float"))


@pytest.fixture(scope="module")
def integer_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return lowered(insert_qdq(network(), FEEDS), "int8", tmp_path_factory.mktemp("int8"))


def test_a_float_file_has_the_graphs_values(float_file: Path) -> None:
    session, graph = ObservedFile(float_file), ObservedGraph(network(), "")
    expected = graph.observe(FEEDS)
    found = session.observe(FEEDS)
    values = {tensor.canonical: found[tensor.name] for tensor in session.tensors}
    # Fused into the operators of others: c1 and c2.
    assert values.keys() == {"r1", "r2", "pool", "flat", "norm"} & values.keys()
    assert {"r1", "r2", "norm"} <= values.keys()
    for name, array in values.items():
        np.testing.assert_allclose(array, expected[name], atol=1e-5, err_msg=name)
    assert session.runtime.startswith("LiteRT ")
    outputs = [tensor.canonical for tensor in session.tensors if tensor.is_output]
    assert outputs == ["norm"]


def test_what_lies_within_an_operator_is_hidden(float_file: Path) -> None:
    session = ObservedFile(float_file)
    assert set(session.hidden.values()) == {"it lies within one operator of the canonical graph"}
    assert len(session.hidden) >= 5
    norm = next(tensor for tensor in session.tensors if tensor.canonical == "norm")
    assert "RSQRT" in norm.operators


def test_operators_run_on_given_values(float_file: Path) -> None:
    session, graph = ObservedFile(float_file), ObservedGraph(network(), "")
    names = {tensor.canonical: tensor.name for tensor in session.tensors}
    random = np.random.default_rng(1)
    given = {
        name: random.standard_normal(array.shape).astype(np.float32)
        for name, array in session.observe(FEEDS).items()
    }
    found = session.compute(FEEDS, given)
    assert found.refused == {}
    expected = graph.compute(
        FEEDS, {canonical: given[name] for canonical, name in names.items()}
    ).values
    for canonical, name in names.items():
        np.testing.assert_allclose(
            found.values[name], expected[canonical], atol=1e-4, err_msg=canonical
        )


def test_an_integer_file_as_real_numbers(integer_file: Path) -> None:
    session = ObservedFile(integer_file)
    graph = ObservedGraph(insert_qdq(network(), FEEDS), "")
    expected = graph.observe(FEEDS)
    pairs = [tensor for tensor in graph.tensors if tensor.steps is not None]
    by_name = {name: pair for pair in pairs for name in (pair.canonical, *pair.aliases)}
    found = session.observe(FEEDS)
    for tensor in session.tensors:
        steps = tensor.steps
        if steps is None:  # within the normalization, which computes in float
            continue
        other = by_name[tensor.canonical]
        assert other.steps is not None
        assert (steps.scale, steps.zero_point) == (other.steps.scale, other.steps.zero_point)
        difference = np.abs(found[tensor.name] - expected[other.name])
        assert difference.max() <= steps.scale * 1.01, tensor.name
    quantized = {tensor.canonical for tensor in session.tensors if tensor.steps is not None}
    assert {"x", "r1", "r2", "pool"} <= quantized


def test_readers_read_integers(integer_file: Path) -> None:
    session = ObservedFile(integer_file)
    r2 = next(tensor for tensor in session.tensors if tensor.canonical == "r2")
    assert r2.steps is not None
    values = np.array([1e5, -1.0, 0.123], np.float32)
    np.testing.assert_array_equal(session.represent(r2.name, values), r2.steps.nearest(values))
    assert r2.reads
    reading = {tensor.name: tensor.canonical for tensor in session.tensors}
    assert [reading[name] for name in r2.reads] == ["r1"]


def test_given_its_own_values_a_file_computes_the_same(integer_file: Path) -> None:
    session = ObservedFile(integer_file)
    seen = session.observe(FEEDS)
    computed = session.compute(FEEDS, seen)
    assert computed.refused == {}
    for name, array in seen.items():
        np.testing.assert_array_equal(computed.values[name], array, err_msg=name)


def test_integer_inputs_are_fed_real_numbers(tmp_path: Path, integer_file: Path) -> None:
    path = lowered(insert_qdq(network(), FEEDS), "int8", tmp_path, io="int8")
    found = ObservedFile(path).observe(FEEDS)
    expected = ObservedFile(integer_file).observe(FEEDS)
    np.testing.assert_array_equal(found["r1"], expected["r1"])


def test_another_tools_file_has_tensors_of_its_own(tmp_path: Path) -> None:
    path = tmp_path / "foreign.tflite"
    path.write_bytes(lower_graph(network(), LoweringOptions()).data)
    session = ObservedFile(path)
    assert not any(tensor.named for tensor in session.tensors)
    assert session.hidden == {}
    image = FEEDS["x"].transpose(0, 2, 3, 1)
    (spec,) = session.signature.inputs
    found = session.observe({spec.name: np.ascontiguousarray(image)})
    r1 = next(tensor for tensor in session.tensors if tensor.stored == "r1")
    assert r1.name.startswith("r1#")
    expected = ObservedGraph(network(), "").observe(FEEDS)["r1"]
    np.testing.assert_allclose(found[r1.name], expected.transpose(0, 2, 3, 1), atol=1e-5)


def test_operators_that_litert_refuses(float_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Alone they are refused; the others can still be run."""
    session = ObservedFile(float_file)
    given = session.observe(FEEDS)

    class Refusing(Fragment):
        def run(self, arrays: Sequence[Array]) -> list[Array]:
            if arrays[0].shape == (1, 8, 8, 4):
                raise RuntimeError("the kernel\nis missing.")
            return super().run(arrays)

    monkeypatch.setattr(observation, "Fragment", Refusing)
    found = session.compute(FEEDS, given)
    assert found.refused == {"r2": "LiteRT cannot run its operators: the kernel is missing"}
    np.testing.assert_array_equal(found.values["r1"], given["r1"])


def test_bad_files(tmp_path: Path, float_file: Path) -> None:
    with pytest.raises(InputError, match=r"nothing\.tflite"):
        ObservedFile(tmp_path / "nothing.tflite")
    damaged = tmp_path / "damaged.tflite"
    damaged.write_bytes(float_file.read_bytes()[:500])
    with pytest.raises(InputError, match="damaged"):
        ObservedFile(damaged)

    def custom(model: Any, graph: Any) -> None:
        del graph
        model.operatorCodes[0].builtinCode = 32
        model.operatorCodes[0].deprecatedBuiltinCode = 32
        model.operatorCodes[0].customCode = b"Sparkle"

    with pytest.raises(UnsupportedError, match=r"LiteRT cannot load custom\.tflite"):
        ObservedFile(planted(float_file, tmp_path / "custom.tflite", custom))


def test_wrong_feeds_and_a_closed_session(float_file: Path) -> None:
    session = ObservedFile(float_file)
    with pytest.raises(InputError, match="input 'x' is missing"):
        session.observe({})
    session.close()
    with pytest.raises(UsageError, match="is closed"):
        session.observe(FEEDS)


def test_the_target_gives_it(float_file: Path) -> None:
    session = create_target().observe(float_file)
    assert not isinstance(session, Unavailable)
    assert session.signature.inputs[0].name == "x"
    session.close()
