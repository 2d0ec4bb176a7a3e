"""The words of TFLite metadata for edgekit's preprocessing and labels."""

from __future__ import annotations

from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import ModelMetadata, Preprocessing
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import ConfigError
from edgekit.targets.tflite.metadata_description import describe

IMAGE = TensorSpec(name="image", shape=("batch", 3, 24, 32), stored_axes=(0, 2, 3, 1))
SCORES = TensorSpec(name="scores", shape=("batch", 4))
SIGNATURE = ModelSignature(inputs=(IMAGE,), outputs=(SCORES,))
IMAGENET = Preprocessing(mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))


def test_normalisation_is_restated_for_pixels_of_0_to_255() -> None:
    facts = describe(ModelMetadata(preprocessing=IMAGENET), SIGNATURE).official.inputs[0]
    assert facts.mean == pytest.approx((123.675, 116.28, 103.53))
    assert facts.std == pytest.approx((58.395, 57.12, 57.375))
    assert (facts.image, facts.color_space, facts.size) == (True, "rgb", (24, 32))


@given(
    pixel=st.integers(0, 255),
    scale=st.sampled_from([1 / 255, 1.0, 1 / 127.5, 0.5]),
    mean=st.floats(-3, 200),
    std=st.floats(0.01, 300),
)
def test_both_forms_of_the_normalisation_agree(
    pixel: int, scale: float, mean: float, std: float
) -> None:
    declared = Preprocessing(scale=scale, mean=(mean,), std=(std,))
    facts = describe(ModelMetadata(preprocessing=declared), SIGNATURE).official.inputs[0]
    ours = (pixel * scale - mean) / std
    assert (pixel - facts.mean[0]) / facts.std[0] == pytest.approx(ours, rel=1e-9, abs=1e-9)
    assert facts.lowest[0] - 1e-9 <= ours <= facts.highest[0] + 1e-9


def test_range_of_the_tensor_is_that_of_black_and_white() -> None:
    declared = Preprocessing(mean=(0.5,), std=(0.5,))
    facts = describe(ModelMetadata(preprocessing=declared), SIGNATURE).official.inputs[0]
    assert facts.lowest == (-1.0,)
    assert facts.highest == pytest.approx((1.0,))


def test_one_mean_with_three_deviations_is_spread() -> None:
    declared = Preprocessing(mean=(0.5,), std=(0.1, 0.2, 0.4))
    facts = describe(ModelMetadata(preprocessing=declared), SIGNATURE).official.inputs[0]
    assert facts.mean == pytest.approx((127.5, 127.5, 127.5))
    assert facts.std == pytest.approx((25.5, 51.0, 102.0))


@pytest.mark.parametrize(
    ("channels", "count", "color_space", "noted"),
    [("rgb", 3, "rgb", 0), ("gray", 1, "grayscale", 0), ("bgr", 3, "unknown", 1)],
)
def test_colour_spaces(
    channels: Literal["rgb", "gray", "bgr"], count: int, color_space: str, noted: int
) -> None:
    spec = TensorSpec(name="image", shape=(1, count, 8, 8), stored_axes=(0, 2, 3, 1))
    found = describe(
        ModelMetadata(preprocessing=Preprocessing(channels=channels)),
        ModelSignature(inputs=(spec,), outputs=(SCORES,)),
    )
    assert found.official.inputs[0].color_space == color_space
    assert len(found.notes) == noted
    assert all("no name for BGR" in note for note in found.notes)


def test_an_image_stored_channels_first_is_told_and_not_declared() -> None:
    spec = TensorSpec(name="image", shape=(1, 3, 8, 8))
    found = describe(
        ModelMetadata(preprocessing=IMAGENET), ModelSignature(inputs=(spec,), outputs=(SCORES,))
    )
    assert not found.official.inputs[0].image
    (note,) = found.notes
    assert note == (
        "The preprocessing is not in the TFLite metadata: input 'image' is stored as "
        "[1, 3, 8, 8], while tooling expects [batch, height, width, 3]."
    )


def test_log_mel_features_are_described_in_words() -> None:
    declared = LogMel(
        kind="log-mel",
        sample_rate_hz=8000, clip_samples=8000, frame_samples=320, step_samples=160,
        fft_size=512, mel_bins=20, low_hz=20, high_hz=4000, log_offset=1e-6, mean=0, std=1,
    )  # fmt: skip
    found = describe(ModelMetadata(preprocessing=declared), SIGNATURE)
    facts = found.official.inputs[0]
    assert not facts.image
    assert facts.description == (
        "Log-mel features, 49 frames of 20 mel bins, of a recording of 8000 samples at 8000 Hz; "
        "how they are computed stands in the metadata edgekit.metadata."
    )
    (note,) = found.notes
    assert "log-mel features of input 'image' in words alone" in note


def test_a_scale_of_nothing_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"scale is 0\.0; TFLite metadata can only express"):
        describe(ModelMetadata(preprocessing=Preprocessing(scale=0.0)), SIGNATURE)


def test_labels_go_to_the_output_of_their_number() -> None:
    boxes = TensorSpec(name="boxes", shape=(1, 100, 7))
    found = describe(
        ModelMetadata(labels=("a", "b", "c", "d")),
        ModelSignature(inputs=(IMAGE,), outputs=(boxes, SCORES)),
    )
    assert [facts.label_file for facts in found.official.outputs] == ["", "labels.txt"]
    assert found.labels == b"a\nb\nc\nd\n"


def test_empty_labels_do_not_shift_the_rest() -> None:
    found = describe(ModelMetadata(labels=("a", "", " c ", "ä")), SIGNATURE)
    assert found.labels.decode() == "a\n???\nc\nä\n"


def test_labels_without_an_output_are_told() -> None:
    found = describe(ModelMetadata(labels=("a", "b")), SIGNATURE)
    assert found.labels == b""
    assert found.notes == (
        "The 2 labels are not in the TFLite metadata: the last axis of no output has that size.",
    )


def test_a_label_of_two_lines_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"Label 1 \('b\\nB'\) holds a line break"):
        describe(ModelMetadata(labels=("a", "b\nB", "c", "d")), SIGNATURE)


def test_inputs_that_are_no_images_state_type_and_shape() -> None:
    found = describe(ModelMetadata(), SIGNATURE)
    assert found.official.inputs[0].description == "float32[batch, 24, 32, 3]"
    assert not found.official.inputs[0].image
    assert found.notes == ()
