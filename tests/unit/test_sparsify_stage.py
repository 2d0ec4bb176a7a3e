"""Weights that become 0 as a stage: exactly those, of the same graph, with statistics that fit."""

from __future__ import annotations

import zlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx_ir as ir
import pytest

from edgekit.core.artifact import ArtifactKind
from edgekit.core.pruning_summary import SparsifySummary
from edgekit.core.stage import StageContext, StageResult
from edgekit.data.datasets import DataSpec
from edgekit.errors import ConfigError, InputError, UnsupportedError
from edgekit.graph.reference import ReferenceSession
from edgekit.stages.sparsify import SparsifyStage, SparsifyStageConfig
from edgekit.training.pruning.sparsify_options import SparsifyOptions
from tests.qat_models import badly_quantized, float_model, stripes
from tests.twin_graphs import make_model, transformer, weights
from tests.unit.test_prune_stage import DEEP
from tests.unit.test_qat_stage import stored, stripes_file

type Array = npt.NDArray[np.float32]


def run(
    folder: Path, data: DataSpec | None, model: ir.Model | None = None, **options: Any
) -> StageResult:
    work = folder / f"work-{len(list(folder.iterdir()))}"
    work.mkdir()
    source = stored(model or float_model(), work / "source.onnx", ArtifactKind.ONNX)
    config = SparsifyStageConfig(data=data, options=SparsifyOptions.model_validate(options))
    return SparsifyStage().run(StageContext(workdir=work, seed=1), {"model": source}, config)


def summary_of(result: StageResult) -> SparsifySummary:
    return SparsifySummary.model_validate_json(result.artifacts["summary"].path.read_bytes())


def constants(model: ir.Model | Path) -> dict[str, Array]:
    graph = (ir.load(model) if isinstance(model, Path) else model).graph
    return {
        name: value.const_value.numpy()
        for name, value in graph.initializers.items()
        if value.const_value is not None
    }


def made_by(result: StageResult) -> dict[str, Array]:
    return constants(result.artifacts["model"].path)


def deep() -> ir.Model:
    shapes: dict[str, tuple[int, ...]] = {
        "w1": (32, 1, 3, 3), "b1": (32,), "w2": (32, 32, 3, 3), "b2": (32,),
        "w3": (32, 32, 3, 3), "b3": (32,), "w4": (3, 32), "b4": (3,),
    }  # fmt: skip
    return make_model(DEEP, weights(shapes))


def test_the_smallest_weights_of_each_layer_are_zero_and_the_others_stay(tmp_path: Path) -> None:
    before = constants(float_model())
    result = run(tmp_path, None, sparsity=0.75)
    after = made_by(result)
    for name in ("w1", "w2", "w3"):
        gone = after[name] == 0
        assert gone.sum() == int(0.75 * gone.size)
        assert np.array_equal(after[name][~gone], before[name][~gone])
        assert np.abs(before[name][gone]).max() <= np.abs(before[name][~gone]).min()
    for name in ("b1", "b2", "b3"):
        assert np.array_equal(after[name], before[name])
    summary = summary_of(result)
    assert [(item.layer, item.zeros, item.weights) for item in summary.layers] == [
        ("conv1", 40, 54), ("conv2", 324, 432), ("fc", 72, 96),
    ]  # fmt: skip
    assert (summary.zeros, summary.weights, summary.dense) == (436, 582, ())
    assert (summary.sparsity, summary.pattern, summary.scope) == (0.75, "", "layer")
    assert result.metrics["sparsify"] == summary.model_dump(mode="json")
    made = result.artifacts["model"]
    assert made.signature is not None
    assert [spec.name for spec in made.signature.outputs] == ["logits"]
    assert [node.op_type for node in ir.load(made.path).graph] == [
        node.op_type for node in float_model().graph
    ]


def test_half_becomes_zero_unless_something_else_is_asked_for(tmp_path: Path) -> None:
    assert summary_of(run(tmp_path, None)).zeros == (54 + 432 + 96) // 2


def test_statistics_bring_outputs_nearer_and_zeros_stay_exactly_zero(tmp_path: Path) -> None:
    result = run(tmp_path, stripes_file(tmp_path), deep(), sparsity=0.8)
    summary = summary_of(result)
    assert (summary.dataset, summary.samples) == ("stripes.npz", 256)
    assert summary.output_error is not None
    assert summary.output_error[1] < 0.7 * summary.output_error[0]
    before, after = constants(deep()), made_by(result)
    for name in ("w1", "w2", "w3", "w4"):
        assert (after[name] == 0).sum() == int(0.8 * after[name].size)
    # The statistics have gone into the weights that are left.
    kept = after["w2"] != 0
    assert not np.array_equal(after["w2"][kept], before["w2"][kept])
    assert not np.array_equal(after["b2"], before["b2"])
    # ONNX Runtime says so as well, with the stage's own measure of the error.
    images = stripes().inputs.numpy()
    with ReferenceSession(result.artifacts["model"].path) as session:
        found = session.run({"image": images})["logits"].astype(np.float64)
    with ReferenceSession(deep()) as session:
        wanted = session.run({"image": images})["logits"].astype(np.float64)
    error = float(((found - wanted) ** 2).mean() / wanted.var())
    assert error == pytest.approx(summary.output_error[1], rel=1e-3)


def test_statistics_that_do_not_help_are_dropped(tmp_path: Path) -> None:
    plain = made_by(run(tmp_path, None, sparsity=0.5))
    result = run(tmp_path, stripes_file(tmp_path), sparsity=0.5)
    errors = summary_of(result).output_error
    assert errors is not None
    after = made_by(result)
    same = all(np.allclose(after[name], plain[name], rtol=1e-4, atol=1e-5) for name in plain)
    assert same == (errors[1] >= errors[0])
    assert all((after[name] == 0).sum() == (plain[name] == 0).sum() for name in plain)


def kept_of_each(weight: Array, m: int, axis: int) -> Array:
    moved = np.moveaxis(weight, axis, -1)
    kept: Array = (moved.reshape(-1, m) != 0).sum(axis=1)
    return kept


@pytest.mark.parametrize("with_data", [True, False])
def test_a_pattern_holds_along_input_channels_of_conv_and_gemm(
    tmp_path: Path, with_data: bool
) -> None:
    data = stripes_file(tmp_path) if with_data else None
    result = run(tmp_path, data, deep(), pattern="2:4")
    before, after = constants(deep()), made_by(result)
    for name in ("w2", "w3", "w4"):
        assert np.all(kept_of_each(after[name], 4, 1) == 2)
    assert np.all(after["w1"] != 0)
    if not with_data:
        # Of each four the two largest are left as they were.
        four = np.abs(np.moveaxis(before["w2"], 1, -1)).reshape(-1, 4)
        left = np.abs(np.moveaxis(after["w2"], 1, -1)).reshape(-1, 4)
        assert np.array_equal(np.sort(left)[:, 2:], np.sort(four)[:, 2:])
    summary = summary_of(result)
    assert (summary.sparsity, summary.pattern) == (None, "2:4")
    assert summary.layers[0].zeros == 0
    (dense,) = summary.dense
    assert dense.layers == ("conv1",)
    assert dense.reason == "its input channels in a group (1) are not a multiple of 4"
    assert any(note.where == "conv1" and "Left dense" in note.text for note in result.notes)


def test_a_pattern_holds_along_the_inputs_of_matmul(tmp_path: Path) -> None:
    result = run(tmp_path, None, transformer(), pattern="1:4")
    after = made_by(result)
    for name in ("qkv_weight", "proj_weight", "fc1_weight", "fc2_weight"):
        # A MatMul has its input channels first.
        assert np.all(kept_of_each(after[name], 4, 0) == 1)
    names = [item.layer for item in summary_of(result).layers]
    assert names == ["qkv", "proj", "fc1", "fc2"]


def test_global_takes_more_of_layers_with_small_weights(tmp_path: Path) -> None:
    summary = summary_of(run(tmp_path, None, deep(), sparsity=0.5, scope="global"))
    assert summary.scope == "global"
    assert summary.zeros == summary.weights // 2
    shares = [item.zeros / item.weights for item in summary.layers]
    assert shares[0] < 0.4 < max(shares)


def test_layers_that_keep_names_stay_dense(tmp_path: Path) -> None:
    result = run(tmp_path, None, sparsity=0.5, keep=("conv1", "f?"))
    after, before = made_by(result), constants(float_model())
    assert np.array_equal(after["w1"], before["w1"])
    assert np.array_equal(after["w3"], before["w3"])
    assert (after["w2"] == 0).sum() == 216
    assert [(item.layers, item.reason) for item in summary_of(result).dense] == [
        (("conv1", "fc"), "keep names it")
    ]


TWICE = """
g (float[batch, 4, 8, 8] image) => (float[batch, 4, 8, 8] out) {
  [conv1] a = Conv <pads = [1, 1, 1, 1]> (image, shared, b1)
  [relu1] b = Relu (a)
  [conv2] out = Conv <pads = [1, 1, 1, 1]> (b, shared, b2)
}
"""


def test_weights_that_two_layers_share_count_once(tmp_path: Path) -> None:
    model = make_model(TWICE, weights({"shared": (4, 4, 3, 3), "b1": (4,), "b2": (4,)}))
    result = run(tmp_path, None, model, sparsity=0.5)
    assert (made_by(result)["shared"] == 0).sum() == 72
    summary = summary_of(result)
    assert [item.layer for item in summary.layers] == ["conv1", "conv2"]
    assert (summary.zeros, summary.weights) == (72, 144)


def test_the_size_of_a_compressed_download_is_told(tmp_path: Path) -> None:
    result = run(tmp_path, None, deep(), sparsity=0.8)

    def deflated(arrays: dict[str, Array]) -> int:
        floats = [item for item in arrays.values() if item.dtype == np.float32]
        return len(zlib.compress(b"".join(item.tobytes() for item in floats), 9))

    before, after = summary_of(result).compressed_bytes
    assert (before, after) == (deflated(constants(deep())), deflated(made_by(result)))
    assert after < 0.45 * before


def test_without_data_the_report_warns(tmp_path: Path) -> None:
    warned = [note for note in run(tmp_path, None).notes if note.level == "warning"]
    assert ["were not estimated anew" in note.text for note in warned] == [True]
    assert run(tmp_path, None, statistics_samples=0).notes == ()


def test_bad_input_is_named(tmp_path: Path) -> None:
    data = stripes_file(tmp_path)
    with pytest.raises(UnsupportedError, match="quantized network cannot be made sparse"):
        run(tmp_path, data, badly_quantized())
    with pytest.raises(ConfigError, match=r"'convx'; the layers are: conv1, conv2, fc"):
        run(tmp_path, data, keep=("conv1", "convx"))
    with pytest.raises(UnsupportedError, match="No layer has input channels in multiples of 64"):
        run(tmp_path, data, pattern="2:64")
    with pytest.raises(InputError, match=r"missing\.npz"):
        run(tmp_path, DataSpec(set=f"npz:{tmp_path / 'missing.npz'}"))
    with pytest.raises(InputError, match=r"at least 2.*sparsify\.statistics_samples to 0"):
        run(tmp_path, data.model_copy(update={"limit": 1}))
    model = make_model(
        "g (float[batch, 4] x) => (float[batch, 2] y) {\n"
        "  [fc1] a = Gemm <transB = 1> (x, w1, b1)\n  [fc2] y = Gemm <transB = 1> (a, w2, b2)\n}",
        {"w1": np.ones((8, 4), np.float32), "b1": np.ones(8, np.float32),
         "w2": np.full((2, 8), 1e-6, np.float32), "b2": np.ones(2, np.float32)},
    )  # fmt: skip
    with pytest.raises(ConfigError, match="leaves no weight in fc2; lower it"):
        run(tmp_path, None, model, sparsity=0.5, scope="global")
