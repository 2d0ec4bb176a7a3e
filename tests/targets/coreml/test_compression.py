"""Palettes and zeros through coremltools, executed; and its activation calibration on Linux."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.target import LowerConfig, Lowered, Precision
from edgekit.errors import ConfigError, UnsupportedError
from edgekit.graph.equivalence import random_feeds
from edgekit.graph.io import save_onnx, signature_of
from edgekit.graph.torch_twin import build_twin, write_back
from edgekit.targets.coreml.compression import Palette, Sparsity, Zeros, compress_package
from edgekit.targets.coreml.package import read_package
from edgekit.targets.coreml.runtime import MilModel
from edgekit.targets.coreml.runtime.drop_in import predicting_here
from edgekit.targets.coreml.target import CoreMLTarget
from edgekit.targets.coreml.toolchain import coremltools as ct
from edgekit.targets.coreml.toolchain import mb, quietly
from edgekit.training.pruning.sparse_layers import make_sparse
from edgekit.training.pruning.sparsify_options import SparsifyOptions
from tests.targets.coreml.mil_packages import build, random
from tests.targets.coreml.quantized_packages import float_network

WEIGHT = random((16, 16, 3, 3), 5)


def layer(x: Any) -> Any:
    return mb.conv(x=x, weight=WEIGHT, pad_type="valid", name="y")


def package(folder: Path, target: str = "iOS18") -> Path:
    return build(layer, {"x": (1, 16, 8, 8)}, folder / "model.mlpackage", target=target)


@pytest.mark.parametrize(
    ("how", "target", "operator", "decibels"),
    [
        (Palette(8, "uniform"), "iOS16", "constexpr_lut_to_dense", 35),
        (Palette(4, "uniform"), "iOS18", "constexpr_lut_to_dense", 12),
        (Palette(4, "kmeans"), "iOS16", "constexpr_lut_to_dense", 15),
        (Palette(6, "kmeans"), "iOS18", "constexpr_lut_to_dense", 25),
        (Palette(3, "kmeans", 4), "iOS18", "constexpr_lut_to_dense", 10),
        (Palette(4, "kmeans", 8), "iOS18", "constexpr_lut_to_dense", 15),
        (Sparsity(0.5), "iOS16", "constexpr_sparse_to_dense", 5),
        (Sparsity(0.3), "iOS18", "constexpr_sparse_to_dense", 10),
        (Sparsity(pattern=(2, 4)), "iOS18", "constexpr_sparse_to_dense", 3),
    ],
)
def test_compressed_weights(
    how: Palette | Sparsity, target: str, operator: str, decibels: float, tmp_path: Path
) -> None:
    source = package(tmp_path, target)
    made = compress_package(source, tmp_path / "small.mlpackage", how)
    assert made.operators == {operator: 1}
    assert decibels < made.sqnr_db < 80
    if isinstance(how, Palette) or how.share >= 0.5:
        assert made.bytes_after < made.bytes_before
    # What coremltools itself restores of the constants, through its own convolution weights.
    with quietly():
        model = ct.models.MLModel(str(made.path), skip_model_load=True)
        import coremltools.optimize.coreml as tools

        dense = tools.decompress_weights(model)
    x = random((1, 16, 8, 8), 9)
    (expected,) = MilModel(Path(dense.package_path)).predict({"x": x}).values()
    (found,) = MilModel(made.path).predict({"x": x}).values()
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-4)


def test_zeros_are_the_smallest_weights(tmp_path: Path) -> None:
    made = compress_package(package(tmp_path), tmp_path / "sparse.mlpackage", Sparsity(0.75))
    function = read_package(made.path).program.functions["main"]
    (operation,) = [op for op in function.block.operations if op.type.startswith("constexpr_")]
    assert operation.outputs[0].type.shape == WEIGHT.shape  # type: ignore[union-attr]
    kept = np.where(np.abs(WEIGHT) >= np.quantile(np.abs(WEIGHT), 0.75), WEIGHT, 0)
    path = build(
        lambda x: mb.conv(x=x, weight=kept.astype(np.float32), pad_type="valid"),
        {"x": (1, 16, 8, 8)}, tmp_path / "kept.mlpackage",
    )  # fmt: skip
    x = random((1, 16, 8, 8), 9)
    (expected,) = MilModel(path).predict({"x": x}).values()
    (found,) = MilModel(made.path).predict({"x": x}).values()
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-2)


def sparse_graph(share: float) -> ir.Model:
    """The network of convolutions and a Gemm with that share of zeros in every layer."""
    model = float_network()
    twin = build_twin(model)
    make_sparse(twin, SparsifyOptions(sparsity=share))
    return write_back(twin, model)


@pytest.mark.parametrize("precision", ["float32", "float16"])
def test_zeros_that_are_there_are_not_stored(precision: Precision, tmp_path: Path) -> None:
    model = sparse_graph(0.8)
    path = tmp_path / "graph.onnx"
    save_onnx(model, path)
    source = Artifact.of(ArtifactKind.ONNX, path, signature=signature_of(model))
    lowered = CoreMLTarget().lower(source, LowerConfig(precision=precision), tmp_path)
    assert isinstance(lowered, Lowered)
    made = compress_package(lowered.artifact.path, tmp_path / "small.mlpackage", Zeros())
    assert made.sqnr_db == float("inf")
    assert made.bytes_after < made.bytes_before
    assert set(made.operators) == {"constexpr_sparse_to_dense"}
    feeds = random_feeds(signature_of(model).inputs)
    (expected,) = MilModel(lowered.artifact.path).predict(feeds).values()
    (found,) = MilModel(made.path).predict(feeds).values()
    assert np.array_equal(found, expected)


def test_layers_with_few_zeros_stay_dense(tmp_path: Path) -> None:
    tiny = np.where(np.abs(WEIGHT) <= np.quantile(np.abs(WEIGHT), 0.5), 1e-7, WEIGHT)
    few = np.where(np.abs(WEIGHT) <= np.quantile(np.abs(WEIGHT), 0.1), 0, WEIGHT)
    for name, weight in (("tiny", tiny), ("few", few)):
        path = build(
            lambda x, weight=weight: mb.conv(x=x, weight=weight.astype(np.float32)),
            {"x": (1, 16, 8, 8)}, tmp_path / f"{name}.mlpackage",
        )  # fmt: skip
        with pytest.raises(UnsupportedError, match="of which 20% or more are 0, so there is"):
            compress_package(path, tmp_path / "small.mlpackage", Zeros())


@pytest.mark.parametrize(
    ("how", "target", "reason"),
    [
        (Palette(5), "iOS18", "no palettes of 5 bits"),
        (Palette(4, group_size=8), "iOS16", "need iOS18"),
        (Sparsity(1.5), "iOS18", "between 0 and 1"),
    ],
)
def test_wrong_choices(how: Palette | Sparsity, target: str, reason: str, tmp_path: Path) -> None:
    source = package(tmp_path, target)
    with pytest.raises(ConfigError, match=reason):
        compress_package(source, tmp_path / "small.mlpackage", how)
    assert not (tmp_path / "small.mlpackage").exists()


def test_edgekits_metadata_stays(tmp_path: Path) -> None:
    model = float_network()
    path = tmp_path / "graph.onnx"
    save_onnx(model, path)
    source = Artifact.of(ArtifactKind.ONNX, path, signature=signature_of(model))
    lowered = CoreMLTarget().lower(source, LowerConfig(precision="float16"), tmp_path)
    assert isinstance(lowered, Lowered)
    made = compress_package(lowered.artifact.path, tmp_path / "small.mlpackage", Palette(8))
    found = CoreMLTarget().inspect(made.path)
    assert found.details["edgekit_metadata"] == "present"
    assert [spec.name for spec in found.signature.inputs] == ["image"]


def test_activations_are_calibrated_without_a_mac(tmp_path: Path) -> None:
    import coremltools.optimize.coreml as tools

    def body(x: Any) -> Any:
        made = mb.relu(x=mb.conv(x=x, weight=WEIGHT, pad_type="valid"))
        return mb.conv(x=made, weight=WEIGHT, pad_type="valid", name="y")

    path = build(body, {"x": (1, 16, 8, 8)}, tmp_path / "model.mlpackage")
    samples: list[dict[str | None, Any]] = [{"x": random((1, 16, 8, 8), at)} for at in range(3)]
    with quietly():
        model = ct.models.MLModel(str(path), skip_model_load=True)
        config = tools.OptimizationConfig(
            global_config=tools.experimental.OpActivationLinearQuantizerConfig(
                mode="linear_symmetric"
            )
        )
        with predicting_here():
            made = tools.linear_quantize_activations(model, config, samples)
    quantized = MilModel(Path(made.package_path))
    types = [op.type for op in quantized.package.program.functions["main"].block.operations]
    assert types.count("quantize") >= 2
    (expected,) = MilModel(path).predict({"x": samples[0]["x"]}).values()
    (found,) = quantized.predict({"x": samples[0]["x"]}).values()
    error = np.sqrt(((found - expected) ** 2).mean() / (expected**2).mean())
    assert 0 < error < 0.05
