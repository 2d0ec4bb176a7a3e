"""Names, shapes, images and classes of a package."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.errors import ConfigError, InputError, UnsupportedGraphError
from edgekit.targets.coreml.package import read_package
from edgekit.targets.coreml.runtime import MilModel
from tests.targets.coreml.lowering.graphs import (
    assert_like_the_runtime,
    lower_text,
    run_package,
)
from tests.targets.coreml.mil_packages import random

HEAD = '<ir_version: 10, opset_import: ["" : 20]>'
SCORES = f"""{HEAD}
g (float[N, 3, 4, 4] image) => (float[N, 3] scores) {{
  pooled = GlobalAveragePool (image)
  scores = Flatten <axis = 1> (pooled)
}}
"""
PIXELS = ModelMetadata(
    name="pixels",
    preprocessing=Preprocessing(mean=(0.5, 0.4, 0.3), std=(0.2, 0.3, 0.4)),
    labels=("cat", "dog", "bird"),
    author="A. Maker",
    license="MIT",
    version="1.2",
)


def test_names_that_core_ml_does_not_take(tmp_path: Path) -> None:
    text = f"""{HEAD}
    g (float[2] "input.1", float[2] "2") => (float[2] "out/put:0") {{
      "out/put:0" = Add ("input.1", "2")
    }}"""
    feeds = {"input.1": random((2,)), "2": random((2,), 1)}
    lowered = assert_like_the_runtime(text, feeds, tmp_path)
    described = read_package(lowered.artifact.path).description
    assert [item.name for item in described.inputs] == ["input_1", "v_2"]
    assert [item.name for item in described.outputs] == ["out_put_0"]
    assert any("input.1 as input_1" in note for note in lowered.notes)


def test_names_are_kept_where_they_can_be(tmp_path: Path) -> None:
    lowered = lower_text(SCORES.replace("N, 3", "1, 3"), tmp_path)
    described = read_package(lowered.artifact.path).description
    assert [item.name for item in (*described.inputs, *described.outputs)] == ["image", "scores"]
    assert not any("called otherwise" in note for note in lowered.notes)


@pytest.mark.parametrize("batch", [1, 3])
def test_an_open_batch_is_a_range(batch: int, tmp_path: Path) -> None:
    feeds = {"image": random((batch, 3, 4, 4))}
    lowered = assert_like_the_runtime(SCORES, feeds, tmp_path)
    (feature,) = read_package(lowered.artifact.path).description.inputs
    assert feature.ranges[0] == (1, 64)
    with pytest.raises(InputError, match="sizes within"):
        run_package(lowered, {"image": random((65, 3, 4, 4))})


@pytest.mark.parametrize("batch", [1, 4])
def test_an_open_batch_of_some_sizes(batch: int, tmp_path: Path) -> None:
    feeds = {"image": random((batch, 3, 4, 4))}
    lowered = assert_like_the_runtime(SCORES, feeds, tmp_path, batch_sizes="1, 4")
    (feature,) = read_package(lowered.artifact.path).description.inputs
    assert set(feature.shapes) == {(1, 3, 4, 4), (4, 3, 4, 4)}
    with pytest.raises(InputError, match="one of"):
        run_package(lowered, {"image": random((2, 3, 4, 4))})


def test_a_chosen_range(tmp_path: Path) -> None:
    feeds = {"image": random((2, 3, 4, 4))}
    lowered = assert_like_the_runtime(SCORES, feeds, tmp_path, batch_sizes="2..8")
    (feature,) = read_package(lowered.artifact.path).description.inputs
    assert feature.ranges[0] == (2, 8)
    assert feature.shape[0] == 2


def test_scalars_booleans_and_wide_integers(tmp_path: Path) -> None:
    text = f"""{HEAD}
    g (float x, bool flag, int64[3] whole) => (float y, bool same, int64[3] more) {{
      y = Sqrt (x)
      same = Not (flag)
      more = Add (whole, whole)
    }}"""
    feeds = {"x": np.array(4, np.float32), "flag": np.array(True), "whole": np.array([1, -2, 3])}
    lowered = assert_like_the_runtime(text, feeds, tmp_path)
    with pytest.raises(InputError, match="32 bits"):
        run_package(lowered, {**feeds, "whole": np.array([1, 2, 2**40])})


def test_an_output_that_is_an_input_a_constant_or_given_twice(tmp_path: Path) -> None:
    text = f"""{HEAD}
    g (float[2] x) => (float[2] same, float[2] fixed, float[2] y, float[2] again)
    <float[2] held = {{1.0, 2.0}}> {{
      same = Identity (x)
      fixed = Identity (held)
      y = Neg (x)
      again = Identity (y)
    }}"""
    assert_like_the_runtime(text, {"x": random((2,))}, tmp_path)


def test_images_with_their_preprocessing_inside(tmp_path: Path) -> None:
    lowered = lower_text(SCORES, tmp_path, PIXELS, image_input=True)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    model = MilModel(lowered.artifact.path)
    (feature,) = model.inputs
    assert feature.image is not None
    assert feature.image.layout == "rgb"
    found = model.predict({"image": Image.fromarray(pixels, "RGB")})
    mean, std = np.array((0.5, 0.4, 0.3)), np.array((0.2, 0.3, 0.4))
    normalized = (pixels / 255 - mean) / std
    expected = normalized.mean((0, 1))
    np.testing.assert_allclose(found["scores"][0], expected, rtol=1e-5, atol=1e-6)
    # The session takes what the canonical graph takes.
    feeds = {"image": normalized.transpose(2, 0, 1)[None].astype(np.float32)}
    np.testing.assert_allclose(run_package(lowered, feeds)["scores"][0], expected, atol=1e-5)
    with pytest.raises(InputError, match="4 x 4 pixels, got 5 x 4"):
        model.predict({"image": Image.new("RGB", (5, 4))})


def test_a_model_of_images_with_labels_is_a_classifier(tmp_path: Path) -> None:
    lowered = lower_text(SCORES, tmp_path, PIXELS, image_input=True)
    model = MilModel(lowered.artifact.path)
    assert model.description.class_name == "classLabel"
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., 1] = 255
    found = model.predict({"image": Image.fromarray(pixels, "RGB")})
    assert found["classLabel"] == "dog"
    (chances,) = [item for item in found.values() if isinstance(item, dict)]
    scores = np.exp(found["scores"][0] - found["scores"][0].max())
    np.testing.assert_allclose(list(chances.values()), scores / scores.sum(), rtol=1e-5)
    assert list(chances) == ["cat", "dog", "bird"]


def test_bgr_and_gray_images(tmp_path: Path) -> None:
    bgr = ModelMetadata(preprocessing=Preprocessing(channels="bgr", scale=1.0))
    lowered = lower_text(SCORES, tmp_path, bgr, image_input=True)
    pixels = np.random.default_rng(0).integers(0, 256, (4, 4, 3)).astype(np.uint8)
    found = MilModel(lowered.artifact.path).predict({"image": Image.fromarray(pixels, "RGB")})
    np.testing.assert_allclose(found["scores"][0], pixels[..., ::-1].mean((0, 1)), rtol=1e-5)
    gray = ModelMetadata(preprocessing=Preprocessing(channels="gray"))
    lowered = lower_text(SCORES.replace("3, 4, 4", "1, 4, 4").replace("N, 3", "N, 1"), tmp_path,
                         gray, image_input=True)  # fmt: skip
    found = MilModel(lowered.artifact.path).predict(
        {"image": Image.fromarray(pixels[..., 0], "L")}
    )
    np.testing.assert_allclose(found["scores"][0, 0], pixels[..., 0].mean() / 255, rtol=1e-5)


def test_images_need_preprocessing_of_images(tmp_path: Path) -> None:
    recordings = LogMel(
        kind="log-mel", sample_rate_hz=80, clip_samples=20, frame_samples=8, step_samples=4,
        fft_size=8, mel_bins=2, low_hz=0, high_hz=40, log_offset=1e-6, mean=0, std=1,
    )  # fmt: skip
    with pytest.raises(ConfigError, match=r"declares log-mel features .* --image-input out"):
        lower_text(SCORES, tmp_path, ModelMetadata(preprocessing=recordings), image_input=True)


def test_images_need_preprocessing(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="declares no preprocessing"):
        lower_text(SCORES, tmp_path, image_input=True)
    vector = f"{HEAD} g (float[1, 3] x) => (float[1, 3] y) {{ y = Relu (x) }}"
    with pytest.raises(ConfigError, match="not of rank 4"):
        lower_text(vector, tmp_path, PIXELS, image_input=True)


def test_texts_of_the_description(tmp_path: Path) -> None:
    lowered = lower_text(SCORES, tmp_path, PIXELS)
    described = read_package(lowered.artifact.path).description
    assert (described.author, described.license, described.version) == ("A. Maker", "MIT", "1.2")
    assert "edgekit" in described.summary


@pytest.mark.parametrize(
    ("target", "version", "opset"),
    [("iOS15", 6, "CoreML5"), ("iOS16", 7, "CoreML6"), ("iOS17", 8, "CoreML7"),
     ("iOS18", 9, "CoreML8"), ("iOS26", 10, "CoreML9")],
)  # fmt: skip
def test_deployment_targets(target: str, version: int, opset: str, tmp_path: Path) -> None:
    feeds = {"image": random((2, 3, 4, 4))}
    lowered = assert_like_the_runtime(SCORES, feeds, tmp_path, deployment_target=target)
    package = read_package(lowered.artifact.path)
    assert package.specification_version == version
    assert package.program.functions["main"].opset == opset


def test_all_refused_nodes_are_listed(tmp_path: Path) -> None:
    text = f"""{HEAD}
    g (int32[2] x, float[2, 2] m) => (int32[2] a, float b) {{
      [first] a = BitwiseAnd (x, x)
      [second] b = Det (m)
    }}"""
    with pytest.raises(UnsupportedGraphError) as caught:
        lower_text(text, tmp_path)
    assert [node.node for node in caught.value.nodes] == ["first", "second"]
    assert "MIL has no counterpart" in str(caught.value)
