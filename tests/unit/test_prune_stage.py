"""Structured pruning as a stage: fewer channels, and statistics that still fit."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.pruning_summary import PruneSummary
from edgekit.core.stage import StageContext, StageResult
from edgekit.core.target import Target
from edgekit.data.datasets import DataSpec
from edgekit.errors import ConfigError, InputError, UnsupportedError
from edgekit.graph.equivalence import random_feeds
from edgekit.graph.importers import ImportRequest, InputRequest, import_model
from edgekit.graph.reference import ReferenceSession
from edgekit.pipeline.registry import get_target
from edgekit.stages.prune import PruneStage, PruneStageConfig
from edgekit.training.pruning.stage_options import PruneOptions
from tests.qat_models import badly_quantized, float_model, stripes
from tests.twin_graphs import make_model, weights
from tests.unit.test_qat_stage import stored, stripes_file


def run(
    folder: Path,
    data: DataSpec | None,
    model: ir.Model | None = None,
    target: Target | None = None,
    **options: Any,
) -> StageResult:
    work = folder / f"work-{len(list(folder.iterdir()))}"
    work.mkdir()
    source = stored(model or float_model(), work / "source.onnx", ArtifactKind.ONNX)
    given = PruneOptions.model_validate({"round_to": 2, "macs_ratio": 0.6, **options})
    config = PruneStageConfig(data=data, options=given)
    context = StageContext(workdir=work, seed=1, target=target)
    return PruneStage().run(context, {"model": source}, config)


def summary_of(result: StageResult) -> PruneSummary:
    return PruneSummary.model_validate_json(result.artifacts["summary"].path.read_bytes())


def accuracy(model: Artifact) -> float:
    samples = stripes()
    with ReferenceSession(model.path) as session:
        scores = session.run({"image": samples.inputs.numpy()})["logits"]
    return float((scores.argmax(1) == samples.labels.numpy()).mean())


def test_channels_go_and_the_rest_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, stripes_file(tmp_path))
    summary = summary_of(result)
    assert summary.macs[1] <= 0.6 * summary.macs[0]
    assert summary.parameters[1] < summary.parameters[0]
    assert [item.layer for item in summary.channels] == ["conv1", "conv2", "fc"]
    assert summary.channels[0].after < 6
    assert summary.channels[2].after == 3
    assert (summary.dataset, summary.samples) == ("stripes.npz", 256)
    assert [item.layers for item in summary.unpruned] == [("fc",)]
    assert result.metrics["prune"] == summary.model_dump(mode="json")
    assert any(note.where == "fc" and "outputs" in note.text for note in result.notes)
    made = result.artifacts["model"]
    assert made.signature is not None
    assert [spec.name for spec in made.signature.outputs] == ["logits"]
    graph = ir.load(made.path)
    assert graph.graph.initializers["w1"].shape == (summary.channels[0].after, 1, 3, 3)


def test_statistics_estimated_anew_are_kept_only_where_they_help(tmp_path: Path) -> None:
    """This network never had BatchNorm."""
    data = stripes_file(tmp_path)
    plain = run(tmp_path, data, statistics_samples=0)
    assert summary_of(plain).output_error is None
    again = run(tmp_path, data)
    errors = summary_of(again).output_error
    assert errors is not None
    same = accuracy(again.artifacts["model"]) == accuracy(plain.artifacts["model"])
    assert same == (errors[1] >= errors[0])


DEEP = """
g (float[batch, 1, 8, 8] image) => (float[batch, 3] logits) {
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
  [relu1] b = Relu (a)
  [conv2] c = Conv <pads = [1, 1, 1, 1]> (b, w2, b2)
  [relu2] d = Relu (c)
  [conv3] e = Conv <pads = [1, 1, 1, 1]> (d, w3, b3)
  [relu3] f = Relu (e)
  [pool] p = GlobalAveragePool (f)
  [flat] q = Flatten (p)
  [fc] logits = Gemm <transB = 1> (q, w4, b4)
}
"""


def test_statistics_estimated_anew_bring_outputs_nearer_to_the_parents(tmp_path: Path) -> None:
    """Half of what each layer sums up is gone, and with it half of its mean."""
    shapes: dict[str, tuple[int, ...]] = {
        "w1": (32, 1, 3, 3), "b1": (32,), "w2": (32, 32, 3, 3), "b2": (32,),
        "w3": (32, 32, 3, 3), "b3": (32,), "w4": (3, 32), "b4": (3,),
    }  # fmt: skip
    result = run(tmp_path, stripes_file(tmp_path), make_model(DEEP, weights(shapes)), round_to=4)
    errors = summary_of(result).output_error
    assert errors is not None
    assert errors[1] < 0.5 * errors[0]


def test_heads_of_an_imported_transformer_go(tmp_path: Path) -> None:
    """Its sizes are computed from the batch, and its two layers hold the same weights."""
    request = ImportRequest(
        source="tests.unit.training.pruning.networks:encoder",
        inputs=(InputRequest(name="tokens", shape=(1, 10, 12)),),
        dynamic_batch=True,
    )
    model = import_model(request).model
    result = run(tmp_path, None, model, round_to=8, allocation="global")
    summary = summary_of(result)
    assert 0.5 * summary.macs[0] < summary.macs[1] <= 0.6 * summary.macs[0]
    fused = [item for item in summary.channels if item.before == 96]
    assert len(fused) == 2
    assert all(item.after in (24, 48, 72) for item in fused)
    with ReferenceSession(result.artifacts["model"].path) as session:
        feeds = random_feeds(session.signature.inputs, seed=2, batch=3)
        assert [output.shape for output in session.run(feeds).values()] == [(3, 5)]
    computed = [node.op_type for node in ir.load(result.artifacts["model"].path).graph]
    assert "Shape" not in computed


def test_without_data_the_report_warns(tmp_path: Path) -> None:
    result = run(tmp_path, None)
    assert summary_of(result).samples == 0
    assert any(
        note.level == "warning" and "were not estimated anew" in note.text for note in result.notes
    )


@pytest.mark.parametrize("importance", ["taylor", "bn_scale", "random"])
def test_every_importance_prunes_an_imported_graph(tmp_path: Path, importance: str) -> None:
    result = run(tmp_path, stripes_file(tmp_path), importance=importance)
    summary = summary_of(result)
    assert summary.importance == importance
    assert summary.macs[1] <= 0.6 * summary.macs[0]


WIDE = """
g (float[1, 3, 48, 48] image) => (float[1, 8, 48, 48] out) {
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, w1, b1)
  [relu1] b = Relu (a)
  [conv2] c = Conv <pads = [1, 1, 1, 1]> (b, w2, b2)
  [relu2] d = Relu (c)
  [head] out = Conv (d, w3, b3)
}
"""


def test_latency_is_measured_on_the_target(tmp_path: Path) -> None:
    shapes: dict[str, tuple[int, ...]] = {
        "w1": (32, 3, 3, 3), "b1": (32,), "w2": (32, 32, 3, 3), "b2": (32,),
        "w3": (8, 32, 1, 1), "b3": (8,),
    }  # fmt: skip
    model = make_model(WIDE, weights(shapes))
    options: dict[str, Any] = {
        "allocation": "latency", "macs_ratio": None, "latency_ratio": 0.8, "round_to": 8,
    }  # fmt: skip
    result = run(tmp_path, None, model, get_target("tflite"), **options)
    summary = summary_of(result)
    assert summary.target == "tflite"
    assert summary.latency_ms is not None
    assert summary.latency_ms[1] <= 0.8 * summary.latency_ms[0]
    assert summary.macs[1] < summary.macs[0]
    with pytest.raises(ConfigError, match="latency measures on a target, and none is named"):
        run(tmp_path, None, model, **options)


def test_bad_input_is_named(tmp_path: Path) -> None:
    data = stripes_file(tmp_path)
    with pytest.raises(ConfigError, match=r"0\.01 cannot be reached.*leave these layers"):
        run(tmp_path, data, macs_ratio=0.01)
    with pytest.raises(UnsupportedError, match="quantized network cannot be pruned"):
        run(tmp_path, data, badly_quantized())
    with pytest.raises(ConfigError, match="taylor computes gradients of the loss, which needs"):
        run(tmp_path, stripes_file(tmp_path, labels=False), importance="taylor")
    with pytest.raises(InputError, match=r"missing\.npz"):
        run(tmp_path, DataSpec(set=f"npz:{tmp_path / 'missing.npz'}"))
    with pytest.raises(InputError, match="has 1 samples; statistics need at least 2"):
        run(tmp_path, data.model_copy(update={"limit": 1}))
