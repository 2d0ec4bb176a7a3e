"""A lowered artifact is kept only if it computes what its source computes."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest

from edgekit.core.artifact import Artifact
from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import Preprocessing
from edgekit.core.metrics import Unavailable
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.stage import StageContext, StageResult
from edgekit.errors import InternalError, MissingToolError, VerificationError
from edgekit.stages.lower import (
    LowerStage,
    LowerStageConfig,
    Verification,
    verification_feeds,
)

if TYPE_CHECKING:
    from tests.unit.pipeline.conftest import FakeTarget, MakeModel, MakeTarget


def run(
    folder: Path, target: FakeTarget | None, model: Artifact, config: LowerStageConfig
) -> StageResult:
    workdir = folder / "work"
    workdir.mkdir()
    context = StageContext(workdir=workdir, seed=5, target=target)
    return LowerStage().run(context, {"model": model}, config)


def verification(result: StageResult) -> Verification:
    return Verification.model_validate_json(result.artifacts["verification"].path.read_bytes())


def test_equal_artifact_is_kept_with_its_figures(
    tmp_path: Path, make_target: MakeTarget, make_model: MakeModel
) -> None:
    target, model = make_target(), make_model()
    result = run(tmp_path, target, model, LowerStageConfig(engine="copy"))
    assert result.artifacts["artifact"].digest == model.digest
    found = verification(result)
    assert not isinstance(found.differences, Unavailable)
    assert [(item.output, item.max_abs) for item in found.differences] == [("scores", 0.0)]
    assert (found.samples, found.seed, found.runtime) == (4, 5, "Fake 1.0")
    assert found.reference.startswith("ONNX Runtime ")
    assert [note.text for note in result.notes] == ["copied as float32"]
    assert target.shapes == [(1, 3, 4, 4)] * 4


def test_dynamic_batch_is_tried_at_more_than_one_size(
    tmp_path: Path, make_target: MakeTarget, make_model: MakeModel
) -> None:
    target = make_target()
    run(tmp_path, target, make_model("batch, 3, 4, 4"), LowerStageConfig(samples=2))
    assert target.shapes == [(1, 3, 4, 4), (3, 3, 4, 4)]


@pytest.mark.parametrize(
    ("precision", "error", "accepted"),
    [
        ("float32", 0.9e-4, True),
        ("float32", 1.2e-4, False),
        ("float16", 1.9e-2, True),
        ("float16", 2.1e-2, False),
        ("float32", float("nan"), False),
    ],
)
def test_difference_is_held_against_the_tolerance_of_the_precision(
    tmp_path: Path,
    make_target: MakeTarget,
    make_model: MakeModel,
    precision: str,
    error: float,
    accepted: bool,
) -> None:
    config = LowerStageConfig.model_validate({"precision": precision})
    target = make_target(error=error)
    if accepted:
        differences = verification(run(tmp_path, target, make_model(), config)).differences
        assert not isinstance(differences, Unavailable)
        assert differences[0].relative == pytest.approx(error, rel=1e-2)
    else:
        with pytest.raises(VerificationError, match="scores"):
            run(tmp_path, target, make_model(), config)


def test_mismatch_states_figures_conditions_and_remedy(
    tmp_path: Path, make_target: MakeTarget, make_model: MakeModel
) -> None:
    with pytest.raises(VerificationError) as caught:
        run(tmp_path, make_target(error=0.5), make_model(), LowerStageConfig(tolerance=0.1))
    text = str(caught.value)
    assert "The fake artifact (float32, engine copy) does not compute" in text
    assert "it is not kept" in text
    assert "Fake 1.0 against ONNX Runtime" in text
    assert "on 4 random inputs (seed 5)" in text
    assert "0.5 of the range" in text
    assert "accepted is 0.1" in text
    assert "Raise the target's tolerance only if" in text


def test_artifact_that_cannot_run_here_is_kept_and_said_to_be_unchecked(
    tmp_path: Path, make_target: MakeTarget, make_model: MakeModel
) -> None:
    result = run(tmp_path, make_target(cannot=("run",)), make_model(), LowerStageConfig())
    found = verification(result)
    assert found.differences == Unavailable(reason="Fakes cannot run here.")
    assert found.samples == 0
    assert result.notes[-1].level == "warning"
    assert result.notes[-1].text == "The artifact was not executed: Fakes cannot run here."


def test_target_that_cannot_convert_here_is_an_error(
    tmp_path: Path, make_target: MakeTarget, make_model: MakeModel
) -> None:
    target = make_target(cannot=("convert",))
    with pytest.raises(MissingToolError, match="Fake format cannot be made here: Fakes cannot co"):
        run(tmp_path, target, make_model(), LowerStageConfig())


def test_plan_without_target_is_a_defect(tmp_path: Path, make_model: MakeModel) -> None:
    with pytest.raises(InternalError, match="planned without a target"):
        run(tmp_path, None, make_model(), LowerStageConfig())


def signature(*shape: int | str) -> ModelSignature:
    other = TensorSpec(name="ids", shape=(1, 5), dtype="int64")
    return ModelSignature(inputs=(TensorSpec(name="image", shape=shape), other), outputs=())


@pytest.mark.parametrize("shape", [(1, 3, 64, 64), (1, 64, 64, 3)])
def test_inputs_are_at_the_scale_of_normalised_pixels(shape: tuple[int, ...]) -> None:
    preprocessing = Preprocessing(scale=1.0, mean=(100.0, 50.0, 0.0), std=(1.0, 2.0, 4.0))
    feeds = next(verification_feeds(signature(*shape), preprocessing, 0, 1))
    image = np.moveaxis(feeds["image"], shape.index(3), 0).astype(np.float64)
    for channel, (mean, std) in enumerate(zip((100, 50, 0), (1, 2, 4), strict=True)):
        assert image[channel].min() == pytest.approx(-mean / std, abs=2 / std)
        assert image[channel].max() == pytest.approx((255 - mean) / std, abs=2 / std)
    assert feeds["image"].dtype == np.float32
    assert set(np.unique(feeds["ids"])) <= {0, 1}


def test_without_preprocessing_inputs_are_standard_normal_and_seeded() -> None:
    first, second = verification_feeds(signature(1, 3, 32, 32), None, 3, 2)
    again = next(verification_feeds(signature(1, 3, 32, 32), None, 3, 1))
    assert np.array_equal(first["image"], again["image"])
    assert not np.array_equal(first["image"], second["image"])
    assert float(np.asarray(first["image"], dtype=np.float64).std()) == pytest.approx(1, abs=0.1)


def test_log_mel_features_are_standard_normal_as_they_are_normalised() -> None:
    declared = LogMel(
        kind="log-mel",
        sample_rate_hz=8000, clip_samples=8000, frame_samples=320, step_samples=160,
        fft_size=512, mel_bins=20, low_hz=20, high_hz=4000, log_offset=1e-6, mean=-7, std=4,
    )  # fmt: skip
    feeds = next(verification_feeds(signature(1, 1, 49, 20), declared, 3, 1))
    plain = next(verification_feeds(signature(1, 1, 49, 20), None, 3, 1))
    np.testing.assert_array_equal(feeds["image"], plain["image"])


def test_restored_weights_are_held_to_what_float32_is() -> None:
    def tolerance(**fields: str) -> float:
        return LowerStageConfig.model_validate(fields).tolerance

    assert tolerance(precision="int8-weights") == 0.25
    assert tolerance(precision="int8-weights", weight_compute="dynamic") == 0.25
    assert tolerance(precision="int4-weights", weight_compute="exact") == 1e-4
    assert tolerance(precision="int8", weight_compute="exact") == 1.0
