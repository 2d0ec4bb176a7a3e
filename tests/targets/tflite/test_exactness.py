"""Planted faults in an integer .tflite file are found, and a right file is found right."""

from __future__ import annotations

from collections.abc import Callable
from copy import copy
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.exactness import ExactnessReport
from edgekit.core.target import LowerConfig, Lowered
from edgekit.errors import InputError, VerificationError
from edgekit.stages.lower import LowerStage, LowerStageConfig
from edgekit.targets.tflite.exactness.compare import compare_with_graph
from edgekit.targets.tflite.packing import pack_model
from edgekit.targets.tflite.repacking import unpack_model
from edgekit.targets.tflite.target import TFLiteTarget, create_target
from tests.targets.tflite.lowering.single_op import build
from tests.targets.tflite.lowering.test_quantized import Quantized, qdq

NETWORK = Quantized(
    "network",
    "c = Conv <pads = [1,1,1,1]> (x, w, b)\nr = Relu(c)\n"
    "ri = QuantizeLinear(r, out_scale, out_zero)\nrd = DequantizeLinear(ri, out_scale, out_zero)\n"
    "v = MaxPool <kernel_shape = [2,2], strides = [2,2]> (rd)",
    {"x": (1, 4, 8, 8)},
    ((6, 4, 3, 3), 0, 6),
    output=(12 / 255, -128),
)


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    path = tmp_path / "network.qdq.onnx"
    onnx.save(build(qdq(NETWORK)), path)
    return path


@pytest.fixture
def artifact(graph: Path, tmp_path: Path) -> Path:
    source = Artifact.of(ArtifactKind.QDQ_ONNX, graph)
    lowered = create_target().lower(source, LowerConfig(precision="int8"), tmp_path)
    assert isinstance(lowered, Lowered)
    return lowered.artifact.path


def spoil(path: Path, change: Callable[[Any, dict[str, Any]], None]) -> None:
    """Edits the tensors of a file by name."""
    model = unpack_model(path.read_bytes())
    change(model, {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors})
    path.write_bytes(pack_model(model))


def problems(report: ExactnessReport) -> set[tuple[str, str]]:
    return {(item.tensor, item.what) for item in report.mismatches}


def test_a_right_file_is_exact(artifact: Path, graph: Path) -> None:
    report = compare_with_graph(artifact, graph)
    assert report.differing_tensors == 0
    assert report.compared_tensors >= 4
    assert (report.float_ops, report.custom_ops) == ((), ())
    assert report.max_lsb is not None
    assert report.max_lsb <= 1
    assert len(report.forced) == 2


def test_one_flipped_weight_is_found(artifact: Path, graph: Path) -> None:
    def change(model: Any, tensors: dict[str, Any]) -> None:
        buffer = model.buffers[tensors["w"].buffer]
        buffer.data = np.array(buffer.data)
        buffer.data[5] ^= 1

    spoil(artifact, change)
    report = compare_with_graph(artifact, graph)
    assert problems(report) == {("w", "integers")}
    assert report.mismatches[0].detail == "1 of 216 elements differ"
    assert report.differing_tensors == 1


@pytest.mark.parametrize("name", ["w", "b", "r"])
def test_a_wrong_scale_is_found(artifact: Path, graph: Path, name: str) -> None:
    def change(model: Any, tensors: dict[str, Any]) -> None:
        del model
        scales = np.array(tensors[name].quantization.scale, np.float32)
        scales[-1] = np.nextafter(scales[-1], np.float32(1))
        tensors[name].quantization.scale = scales

    spoil(artifact, change)
    assert (name, "scale") in problems(compare_with_graph(artifact, graph))


def test_a_wrong_zero_point_is_found(artifact: Path, graph: Path) -> None:
    def change(model: Any, tensors: dict[str, Any]) -> None:
        del model
        tensors["r"].quantization.zeroPoint = np.array([-127])

    spoil(artifact, change)
    report = compare_with_graph(artifact, graph)
    assert ("r", "zero point") in problems(report)
    # LiteRT refuses a MaxPool whose zero points differ, so nothing could be run.
    assert (report.max_lsb, report.agreement) == (None, None)


def test_a_wrong_operator_is_found_by_teacher_forcing(artifact: Path, graph: Path) -> None:
    def change(model: Any, tensors: dict[str, Any]) -> None:
        del tensors
        convolution = model.subgraphs[0].operators[1]
        convolution.builtinOptions.fusedActivationFunction = 3  # RELU6 in place of RELU

    spoil(artifact, change)
    report = compare_with_graph(artifact, graph)
    assert report.differing_tensors == 0
    assert report.forced[0].tensor == "r"
    assert report.forced[0].lsb > 1


def test_a_float_operator_without_a_reason_is_found(artifact: Path, graph: Path) -> None:
    """The result of the network is restored to float before its last operator."""

    def change(model: Any, tensors: dict[str, Any]) -> None:
        operators = model.subgraphs[0].operators
        pool, restore = operators[2], operators[3]
        place = {t.name.decode(): i for i, t in enumerate(model.subgraphs[0].tensors)}
        pooled, restored = list(pool.outputs), list(restore.outputs)
        float_input = copy(tensors["r"])
        float_input.name, float_input.type, float_input.quantization = b"r/float", 0, None
        model.subgraphs[0].tensors.append(float_input)
        restore.inputs, restore.outputs = [place["r"]], [len(place)]
        pool.inputs, pool.outputs = [len(place)], restored
        del pooled
        model.subgraphs[0].operators = [*operators[:2], restore, pool]

    spoil(artifact, change)
    report = compare_with_graph(artifact, graph)
    assert report.hidden_float_ops == report.float_ops
    assert len(report.float_ops) == 1
    assert report.float_ops[0].startswith("MAX_POOL_2D -> ")


def test_a_file_without_origins_cannot_be_compared(graph: Path, tmp_path: Path) -> None:
    other = tmp_path / "other.tflite"
    from edgekit.graph.io import load_onnx
    from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph

    other.write_bytes(lower_graph(load_onnx(graph), LoweringOptions()).data)
    with pytest.raises(InputError, match="does not say which values its tensors hold"):
        compare_with_graph(other, graph)


def test_lowering_refuses_an_artifact_that_is_not_exact(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgekit.core.stage import StageContext

    whole = TFLiteTarget.lower

    def faulty(self: TFLiteTarget, *args: Any) -> Any:
        lowered = whole(self, *args)
        assert isinstance(lowered, Lowered)

        def change(model: Any, tensors: dict[str, Any]) -> None:
            buffer = model.buffers[tensors["w"].buffer]
            buffer.data = np.array(buffer.data)
            buffer.data[0] ^= 1

        spoil(lowered.artifact.path, change)
        return lowered

    monkeypatch.setattr(TFLiteTarget, "lower", faulty)
    context = StageContext(workdir=tmp_path, target=create_target())
    source = Artifact.of(ArtifactKind.QDQ_ONNX, graph)
    with pytest.raises(VerificationError, match="tensor 'w' of value 'w': integers: 1 of 216"):
        LowerStage().run(context, {"model": source}, LowerStageConfig(precision="int8"))
