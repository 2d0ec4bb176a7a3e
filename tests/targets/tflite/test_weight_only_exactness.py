"""Planted faults in a .tflite file with integer weights alone are found; a right one is right."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.exactness import ExactnessReport
from edgekit.core.quant import named_scheme
from edgekit.core.stage import StageContext
from edgekit.core.target import LowerConfig, Lowered, WeightCompute
from edgekit.errors import VerificationError
from edgekit.graph.io import save_onnx
from edgekit.quantization.ptq import quantize_ptq
from edgekit.stages.lower import LowerStage, LowerStageConfig
from edgekit.targets.tflite.exactness.compare import compare_with_graph
from edgekit.targets.tflite.inspection import inspect
from edgekit.targets.tflite.packing import pack_model
from edgekit.targets.tflite.repacking import unpack_model
from edgekit.targets.tflite.target import TFLiteTarget, create_target
from tests.targets.tflite.lowering.single_op import Case, build

NETWORK = Case(
    "network",
    "c = Conv <pads = [1,1,1,1]> (x, k, kb)\ncr = Relu(c)\n"
    "d = Conv <group = 8> (cr, dk, db)\ndr = Relu(d)\nf = Flatten(dr)\n"
    "g = Gemm(f, w, wb)\ngr = Relu(g)\ny = MatMul(gr, v)",
    {"x": (1, 4, 4, 4)},
    {"k": (8, 4, 3, 3), "kb": (8,), "dk": (8, 1, 1, 1), "db": (8,), "w": (128, 32), "wb": (32,),
     "v": (32, 5)},
)  # fmt: skip


@pytest.fixture
def graph(tmp_path: Path) -> Path:
    """The network with 4-bit blocks where there are kernels, else 8 bits."""
    result = quantize_ptq(
        ir.from_proto(build(NETWORK)), lambda: iter(()), named_scheme("int4-weights")
    )
    path = tmp_path / "network.qdq.onnx"
    save_onnx(result.model, path)
    return path


def lower(graph: Path, folder: Path, compute: WeightCompute | None = None) -> Path:
    source = Artifact.of(ArtifactKind.QDQ_ONNX, graph)
    config = LowerConfig(precision="int4-weights", weight_compute=compute)
    lowered = create_target().lower(source, config, folder)
    assert isinstance(lowered, Lowered)
    return lowered.artifact.path


def spoil(path: Path, change: Callable[[Any, dict[str, Any]], None]) -> None:
    """Edits the tensors of a file by name."""
    model = unpack_model(path.read_bytes())
    change(model, {tensor.name.decode(): tensor for tensor in model.subgraphs[0].tensors})
    path.write_bytes(pack_model(model))


def flip(name: str) -> Callable[[Any, dict[str, Any]], None]:
    """Changes the lowest bit of the first byte of a tensor."""

    def change(model: Any, tensors: dict[str, Any]) -> None:
        buffer = model.buffers[tensors[name].buffer]
        buffer.data = np.array(buffer.data)
        buffer.data[0] ^= 1

    return change


def problems(report: ExactnessReport) -> set[tuple[str, str, str]]:
    return {(item.value, item.what, item.detail) for item in report.mismatches}


@pytest.mark.parametrize(("compute", "dynamic"), [("dynamic", 3), ("exact", 0)])
def test_a_right_file_is_exact(
    graph: Path, tmp_path: Path, compute: WeightCompute, dynamic: int
) -> None:
    report = compare_with_graph(lower(graph, tmp_path, compute), graph)
    assert (report.compared_tensors, report.differing_tensors) == (4, 0)
    assert report.weights_only
    assert len(report.float_ops) >= 4
    assert (report.max_lsb, report.forced) == (None, ())
    assert len(report.rounded) == 4
    assert sum(item.dynamic for item in report.rounded) == dynamic
    assert report.max_rounded is not None
    assert 0 < report.max_rounded < (0.8 if dynamic else 0.1)
    assert report.agreement == 1.0


@pytest.mark.parametrize(
    ("tensor", "detail"),
    [
        ("k/dequantized", "1 of 288 elements differ"),
        ("w/dequantized", "1 of 4096 elements differ"),
        ("v/dequantized", "1 of 160 elements differ"),
    ],
)
def test_one_flipped_weight_is_found(
    graph: Path, tmp_path: Path, tensor: str, detail: str
) -> None:
    artifact = lower(graph, tmp_path)
    spoil(artifact, flip(tensor))
    assert problems(compare_with_graph(artifact, graph)) == {(tensor, "integers", detail)}


def test_one_flipped_weight_of_restored_blocks_is_found(graph: Path, tmp_path: Path) -> None:
    artifact = lower(graph, tmp_path, "exact")
    stored = next(
        tensor.name.decode()
        for tensor in unpack_model(artifact.read_bytes()).subgraphs[0].tensors
        if tensor.name.startswith(b"w/dequantized") and tensor.buffer
    )
    spoil(artifact, flip(stored))
    found = problems(compare_with_graph(artifact, graph))
    assert found == {("w/dequantized", "integers", "1 of 4096 elements differ")}


def test_a_wrong_scale_of_a_block_is_found(graph: Path, tmp_path: Path) -> None:
    artifact = lower(graph, tmp_path)

    def change(model: Any, tensors: dict[str, Any]) -> None:
        buffer = model.buffers[tensors["w/dequantized/scales"].buffer]
        halves = np.frombuffer(bytes(buffer.data), np.float16).copy()
        halves[3] *= 4
        buffer.data = np.frombuffer(halves.tobytes(), np.uint8)

    spoil(artifact, change)
    report = compare_with_graph(artifact, graph)
    assert problems(report) == {("w/dequantized", "scale", "1 of 128 scales differ")}


def test_blocks_of_another_size_are_found(graph: Path, tmp_path: Path) -> None:
    artifact = lower(graph, tmp_path)

    def change(model: Any, tensors: dict[str, Any]) -> None:
        tensor = tensors["w/dequantized"]
        tensor.quantization.details.blockSize = 64
        scales = tensors["w/dequantized/scales"]
        scales.shape = [32, 2]
        buffer = model.buffers[scales.buffer]
        buffer.data = np.array(buffer.data)[:128]

    spoil(artifact, change)
    found = problems(compare_with_graph(artifact, graph))
    assert found == {("w/dequantized", "scale", "blocks of 32 became blocks of 64")}


def test_a_layer_that_computes_something_else_is_found(graph: Path, tmp_path: Path) -> None:
    artifact = lower(graph, tmp_path)

    def change(model: Any, tensors: dict[str, Any]) -> None:
        del tensors
        convolution = model.subgraphs[0].operators[0]
        convolution.builtinOptions.fusedActivationFunction = 0  # NONE in place of RELU

    spoil(artifact, change)
    report = compare_with_graph(artifact, graph)
    assert report.differing_tensors == 0
    assert report.rounded[0].tensor == "cr"
    assert report.rounded[0].share > 5


def test_lowering_refuses_a_layer_that_is_wrong(
    graph: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = TFLiteTarget.lower

    def faulty(self: TFLiteTarget, *args: Any) -> Any:
        lowered = whole(self, *args)
        assert isinstance(lowered, Lowered)

        def change(model: Any, tensors: dict[str, Any]) -> None:
            # As if the kernel took other scales than the graph has.
            del model
            bias = tensors["kb"]
            bias.buffer = tensors["db"].buffer

        spoil(lowered.artifact.path, change)
        return lowered

    monkeypatch.setattr(TFLiteTarget, "lower", faulty)
    context = StageContext(workdir=tmp_path, target=create_target())
    source = Artifact.of(ArtifactKind.QDQ_ONNX, graph)
    config = LowerStageConfig(precision="int4-weights", tolerance=10.0)
    with pytest.raises(VerificationError, match=r"'cr' \(CONV_2D\) is .* times as far off as"):
        LowerStage().run(context, {"model": source}, config)


def test_a_right_file_leaves_notes_and_no_warnings(graph: Path, tmp_path: Path) -> None:
    context = StageContext(workdir=tmp_path, target=create_target())
    source = Artifact.of(ArtifactKind.QDQ_ONNX, graph)
    result = LowerStage().run(
        context, {"model": source}, LowerStageConfig(precision="int4-weights")
    )
    assert {note.level for note in result.notes} == {"info"}
    text = " ".join(note.text for note in result.notes)
    assert "4 tensors of integer weights compared with the QDQ graph: none differs" in text
    assert "(4 layers run alone)" in text


def test_inspection_counts_weights_in_blocks_and_not_their_scales(
    graph: Path, tmp_path: Path
) -> None:
    found = inspect(lower(graph, tmp_path))
    assert found.parameters == 8 * 36 + 8 + 8 + 8 + 128 * 32 + 32 + 32 * 5
    assert found.details["hybrid_ops"] == "3"
    assert found.details["constant_dequantize_ops"] == "1"


def test_a_graph_without_weights_is_float_and_says_so(tmp_path: Path) -> None:
    case = Case("plain", "y = Relu(x)", {"x": (1, 4)})
    path = tmp_path / "plain.onnx"
    onnx.save(build(case), path)
    source = Artifact.of(ArtifactKind.QDQ_ONNX, path)
    lowered = create_target().lower(source, LowerConfig(precision="int8-weights"), tmp_path)
    assert isinstance(lowered, Lowered)
    assert lowered.notes[0] == (
        "The graph has no weights to quantize, so the artifact is float32 under this name."
    )
    assert compare_with_graph(lowered.artifact.path, path).compared_tensors == 0
