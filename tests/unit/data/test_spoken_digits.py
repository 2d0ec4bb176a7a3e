"""Spoken digits: speakers kept apart, and what is said of files that are missing or damaged."""

from __future__ import annotations

import io
import os
import struct
import wave
from collections.abc import Callable, Mapping
from pathlib import Path

import numpy as np
import pytest

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.contract import DataSpec
from edgekit.data.datasets import data_files, open_dataset
from edgekit.data.preprocessing import ImagePreprocessor
from edgekit.data.spoken_digits import TEST_SPEAKERS, open_speakers
from edgekit.errors import InputError

type Writer = Callable[[Path, Mapping[str, bytes]], Path]

REPOSITORY = Path(__file__).parents[3]
ROOT = Path(os.environ.get("EDGEKIT_DATA") or REPOSITORY.parent / "shared" / "data")
ARCHIVE = "fsdd/recordings.zip"

DECLARED = LogMel(
    kind="log-mel", sample_rate_hz=8000, clip_samples=640, frame_samples=320, step_samples=320,
    fft_size=512, mel_bins=4, low_hz=0, high_hz=4000, log_offset=1e-6, mean=0, std=1,
)  # fmt: skip
SPEC = TensorSpec(name="features", shape=("batch", 1, 2, 4))


def wav(loudness: int, length: int = 640, *, rate: int = 8000, channels: int = 1) -> bytes:
    stream = io.BytesIO()
    with wave.open(stream, "wb") as file:
        file.setnchannels(channels)
        file.setsampwidth(2)
        file.setframerate(rate)
        values = [loudness * (-1) ** (n // 4) for n in range(length * channels)]
        file.writeframes(struct.pack(f"<{len(values)}h", *values))
    return stream.getvalue()


def members(speakers: Mapping[str, int], takes: int = 2) -> dict[str, bytes]:
    """A digit is as loud as ``100 * (digit + 1)``, a speaker lengthens the recording."""
    return {
        f"recordings/{digit}_{speaker}_{take}.wav": wav(100 * (digit + 1), length)
        for digit in range(10)
        for speaker, length in speakers.items()
        for take in range(takes)
    }


SPEAKERS = {"anna": 640, "theo": 700, "yweweler": 500, "zoe": 640}


@pytest.fixture
def root(tmp_path: Path, write_zip: Writer) -> Path:
    others = {"recordings/": b"", "__MACOSX/recordings/._0_anna_0.wav": b"x", "readme.txt": b"x"}
    write_zip(tmp_path / ARCHIVE, {**others, **members(SPEAKERS)})
    return tmp_path


def spec(root: Path, split: str = "test", **more: object) -> DataSpec:
    return DataSpec.model_validate({"set": "spoken-digits", "root": root, "split": split, **more})


def test_splits_divide_by_speaker(root: Path) -> None:
    train, test = open_speakers(spec(root, "train")), open_speakers(spec(root))
    for part, wanted in ((train, {"anna", "zoe"}), (test, set(TEST_SPEAKERS))):
        assert part.files == data_files(spec(root)) == (root / ARCHIVE,)
        assert (part.name, len(part), part.labels[3]) == ("spoken-digits", 40, "three")
        assert part.targets.tolist() == sorted(list(range(10)) * 4)
        with part.source.reader() as read:
            names = [read(position).name for position in range(len(part))]
        assert {name.split("_")[1] for name in names} == wanted
        assert all(
            f"recordings/{digit}_" in name for digit, name in zip(part.targets, names, strict=True)
        )


def test_other_speakers_can_be_kept_back(root: Path) -> None:
    train = open_speakers(spec(root, "train"), ("anna",))
    with train.source.reader() as read:
        speakers = {read(position).name.split("_")[1] for position in range(len(train))}
    assert speakers == {"theo", "yweweler", "zoe"}
    with pytest.raises(InputError, match="No speaker is left for the split 'train'"):
        open_speakers(spec(root, "train"), tuple(SPEAKERS))
    with pytest.raises(InputError, match=r"split 'test'.*test speakers are none"):
        open_speakers(spec(root), ())


def test_a_folder_holds_the_same_as_the_zip(
    root: Path, tmp_path: Path, write_files: Writer
) -> None:
    unpacked = write_files(tmp_path / "other" / "spoken-digits", members(SPEAKERS))
    batches = [
        next(iter(open_dataset(spec(place)).batches(DECLARED, SPEC, 100)))
        for place in (root, unpacked.parent)
    ]
    np.testing.assert_array_equal(batches[0].inputs, batches[1].inputs)
    np.testing.assert_array_equal(batches[0].labels, batches[1].labels)
    # WAV files may also lie beside the readme.
    flat = {name.rpartition("/")[2]: data for name, data in members(SPEAKERS).items()}
    write_files(tmp_path / "flat" / "fsdd", flat)
    found = next(iter(open_dataset(spec(tmp_path / "flat")).batches(DECLARED, SPEC, 100)))
    np.testing.assert_array_equal(batches[0].inputs, found.inputs)


def test_batches_limit_and_order(root: Path) -> None:
    dataset = open_dataset(spec(root, limit=10))
    assert len(dataset) == 10
    batches = list(dataset.batches(DECLARED, SPEC, 4))
    assert [batch.inputs.shape for batch in batches] == [(4, 1, 2, 4), (4, 1, 2, 4), (2, 1, 2, 4)]
    assert np.concatenate([batch.labels for batch in batches]).tolist() == list(range(10))
    # Ten times the amplitude is 2 * ln(10) in the logarithm of the energy.
    inputs = np.concatenate([batch.inputs for batch in batches])
    np.testing.assert_allclose(inputs[9].max() - inputs[0].max(), 2 * np.log(10), rtol=1e-3)
    (turned,) = dataset.batches(DECLARED, SPEC, 10, order=range(9, -1, -1))
    np.testing.assert_array_equal(turned.inputs, inputs[::-1])


def test_recordings_need_log_mel(root: Path) -> None:
    dataset = open_dataset(spec(root))
    with pytest.raises(InputError, match=r"holds recordings, but .* declares none\. Declare"):
        dataset.batches(None, SPEC, 4)
    with pytest.raises(InputError, match=r"of the model is for images.*kind = \"log-mel\""):
        dataset.batches(Preprocessing(channels="gray"), SPEC, 4)
    with pytest.raises(InputError, match="at least 1 sample"):
        dataset.batches(DECLARED, SPEC, 0)


def test_images_need_another_preprocessing() -> None:
    image = TensorSpec(name="image", shape=("batch", 1, 8, 8))
    with pytest.raises(InputError, match=r"takes log-mel features .* the data set holds images"):
        ImagePreprocessor(DECLARED, image)


def test_missing_files(tmp_path: Path) -> None:
    with pytest.raises(
        InputError, match=r"'spoken-digits' was not found; looked in .*/fsdd.*--da"
    ):
        open_dataset(spec(tmp_path))
    (tmp_path / "fsdd").mkdir()
    with pytest.raises(InputError, match=r"needs recordings\.zip, or recordings/ .* neither is"):
        open_dataset(spec(tmp_path))


def test_what_is_no_zip(tmp_path: Path) -> None:
    (tmp_path / "fsdd").mkdir()
    (tmp_path / ARCHIVE).write_bytes(b"<html>not found</html>")
    with pytest.raises(InputError, match=r"recordings\.zip is no readable zip: .*Fetch it again"):
        open_dataset(spec(tmp_path))


def test_nothing_in_it(tmp_path: Path, write_zip: Writer) -> None:
    write_zip(tmp_path / ARCHIVE, {"recordings/": b"", "readme.txt": b"x"})
    with pytest.raises(InputError, match=r"recordings\.zip is empty: it holds no \.wav file"):
        open_dataset(spec(tmp_path))
    (tmp_path / "fsdd" / "recordings").mkdir()
    with pytest.raises(InputError, match=r"recordings is empty: it holds no \.wav file"):
        open_dataset(spec(tmp_path))


def test_a_member_with_changed_bytes(root: Path) -> None:
    content = bytearray((root / ARCHIVE).read_bytes())
    content[content.index(b"RIFF") + 60] ^= 0xFF
    (root / ARCHIVE).write_bytes(content)
    with pytest.raises(
        InputError, match=r"Recording recordings/0_anna_0\.wav in .* cannot be read: .*CRC"
    ):
        list(open_dataset(spec(root, "train")).batches(DECLARED, SPEC, 8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (wav(5)[:200], r"0_theo_9\.wav in .* is damaged: its header promises 640 samples"),
        (wav(5, 0), r"0_theo_9\.wav in .* is empty"),
        (wav(5, rate=16000), r"0_theo_9\.wav in .* has 16000 samples a second, .* for 8000"),
        (wav(5, channels=2), r"0_theo_9\.wav in .* has 2 channels of 16 bits"),
    ],
)
def test_a_recording_that_is_none(
    tmp_path: Path, write_zip: Writer, content: bytes, message: str
) -> None:
    extra = {"recordings/0_theo_9.wav": content}
    write_zip(tmp_path / ARCHIVE, {**members(SPEAKERS), **extra})
    with pytest.raises(InputError, match=message):
        list(open_dataset(spec(tmp_path)).batches(DECLARED, SPEC, 8))


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (members({"anna": 640}), r"Test speakers theo, yweweler are not in .*holds anna\."),
        ({"recordings/ten_theo_0.wav": b""}, r"ten_theo_0\.wav .* is not called <digit>_<sp"),
        (
            {
                name: data
                for name, data in members(SPEAKERS).items()
                if not name.startswith(("recordings/3_theo", "recordings/3_yw"))
            },
            r"has no recording of three for the split 'test'",
        ),
    ],
)
def test_what_is_not_as_published(
    tmp_path: Path, write_zip: Writer, content: dict[str, bytes], message: str
) -> None:
    write_zip(tmp_path / ARCHIVE, content)
    with pytest.raises(InputError, match=message):
        open_dataset(spec(tmp_path))


def test_the_real_recordings() -> None:
    if not (ROOT / ARCHIVE).is_file():
        pytest.skip(f"no {ARCHIVE} in {ROOT}; set EDGEKIT_DATA")
    declared = LogMel(**{**DECLARED.model_dump(), "clip_samples": 8000, "mel_bins": 40})
    form = TensorSpec(name="x", shape=("batch", declared.frames, 40))
    for split, count in (("train", 2000), ("test", 1000)):
        dataset = open_dataset(spec(ROOT, split))
        assert len(dataset) == count
        few = open_dataset(spec(ROOT, split, limit=20))
        (batch,) = few.batches(declared, form, 20)
        assert np.bincount(batch.labels).tolist() == [2] * 10
        # Speech is louder in the middle of the clip than at its ends, which are filled.
        middle, end = batch.inputs[:, 10:14].mean(), batch.inputs[:, -2:].mean()
        assert middle > end + 2
