"""What edgekit writes into a package comes back whole."""

from __future__ import annotations

import json

import pytest

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import METADATA_KEY, AnyPreprocessing, ModelMetadata, Preprocessing
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import InputError
from edgekit.targets.coreml.embedded import EmbeddedMetadata, decode, encode

RECORDING = LogMel(
    kind="log-mel", sample_rate_hz=80, clip_samples=20, frame_samples=8, step_samples=4,
    fft_size=8, mel_bins=2, low_hz=0, high_hz=40, log_offset=1e-6, mean=0, std=1,
)  # fmt: skip


def embedded(preprocessing: AnyPreprocessing | None) -> EmbeddedMetadata:
    return EmbeddedMetadata(
        metadata=ModelMetadata(name="net", preprocessing=preprocessing),
        signature=ModelSignature(inputs=(TensorSpec(name="x", shape=(1, 4, 2)),), outputs=()),
        features={"x": "x"},
    )


@pytest.mark.parametrize("declared", [None, Preprocessing(), Preprocessing(scale=1), RECORDING])
def test_metadata_comes_back(declared: AnyPreprocessing | None) -> None:
    written = embedded(declared)
    assert decode(encode(written), "net.mlpackage") == written


def test_an_application_finds_every_number_of_the_front_end() -> None:
    text = encode(embedded(RECORDING))[METADATA_KEY]
    assert json.loads(text)["metadata"]["preprocessing"] == RECORDING.model_dump(mode="json")


def test_a_damaged_entry_is_told() -> None:
    with pytest.raises(InputError, match=r"'edgekit\.metadata' in net\.mlpackage is damaged"):
        decode({METADATA_KEY: "{"}, "net.mlpackage")
    assert decode({}, "net.mlpackage") is None
