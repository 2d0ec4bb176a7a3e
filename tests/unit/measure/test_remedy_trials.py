"""What remedies are tried, and which of them is called the best."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.layer_error import ArtifactErrors, Remedy
from edgekit.core.quant import named_scheme
from edgekit.data.model_inputs import InputBatch
from edgekit.errors import UnsupportedError
from edgekit.graph.io import load_onnx
from edgekit.graph.observed_graph import ObservedGraph
from edgekit.measure.layer_comparison import Subject, compare_layers
from edgekit.measure.remedy_trials import TrialMaterial, as_graph, try_remedies
from edgekit.quantization.ptq import PtqOptions, quantize_ptq
from tests.digits_network import digits, write_net


@contextmanager
def without_sixteen_bits(model: ir.Model, scheme: str) -> Iterator[Subject]:
    """A target that offers no other scheme than int8."""
    if scheme != "int8":
        raise UnsupportedError(f"No {scheme} here.")
    with as_graph(model, scheme) as subject:
        yield subject


@pytest.fixture
def case(tmp_path: Path) -> Iterator[tuple[ArtifactErrors, TrialMaterial]]:
    """Large values that all count, in 8 bits: what helps is 16."""
    write_net(tmp_path / "net.onnx", outliers=400.0, heeded=True)
    model = load_onnx(tmp_path / "net.onnx")
    feeds = [{"image": image[None]} for image in digits("train")[0][:64]]
    images, labels = digits("test")
    batches = [
        InputBatch({"image": image[None]}, np.array([label]), 1)
        for image, label in zip(images[:32], labels[:32], strict=True)
    ]
    made = quantize_ptq(
        model, lambda: iter(feeds), named_scheme("int8"), PtqOptions(method="minmax")
    )
    with closing(ObservedGraph(model, "reference")) as right, as_graph(made.model, "int8") as bad:
        reference = Subject("net.onnx", "onnx", right)
        result = compare_layers(reference, [bad], batches, "digits")
        yield (
            result.artifacts[0],
            TrialMaterial(model, reference, lambda: iter(feeds), lambda: batches, "digits"),
        )


def test_the_best_is_marked_and_the_rest_tried(case: tuple[ArtifactErrors, TrialMaterial]) -> None:
    errors, material = case
    tried = try_remedies(errors, material)
    best = tried.best_remedy
    assert best is not None
    assert best.kind == "int16"
    assert best.trial is not None
    assert best.trial.before is not None
    assert best.trial.before.sqnr_db == errors.output_sqnr_db
    again = tried.remedies[0].trial
    assert again is not None
    assert again.calibration in {"minmax", "moving-average", "percentile", "mse", "entropy"}
    assert not again.best
    assert errors.best_remedy is None


def test_what_a_target_refuses_is_told(case: tuple[ArtifactErrors, TrialMaterial]) -> None:
    errors, material = case
    limited = TrialMaterial(
        material.model, material.reference, material.calibration, material.batches, "digits",
        make=without_sixteen_bits,
    )  # fmt: skip
    tried = {item.kind: item.trial for item in try_remedies(errors, limited).remedies}
    refused = tried["int16"]
    assert refused is not None
    assert (refused.problem, refused.after, refused.helps) == ("No int16x8 here.", None, False)
    again = tried["requantize"]
    assert again is not None
    assert again.problem == ""


def test_converting_again_is_no_trial(case: tuple[ArtifactErrors, TrialMaterial]) -> None:
    errors, material = case
    remedy = Remedy(kind="convert-again", text="convert again")
    asked = errors.model_copy(update={"remedies": (remedy,)})
    assert try_remedies(asked, material).remedies == (remedy,)
