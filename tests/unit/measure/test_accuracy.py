"""Accuracy of sessions whose right answer is known."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
from sklearn.metrics import accuracy_score, top_k_accuracy_score

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.target import Session
from edgekit.data.datasets import Dataset, DataSpec, open_dataset
from edgekit.errors import InputError, VerificationError
from edgekit.measure.accuracy import agreement, classify, evaluate_session, predictions_digest

type MakeSession = Callable[..., Any]

COUNT, CLASSES = 23, 10
RNG = np.random.default_rng(3)
SCORES = RNG.standard_normal((COUNT, CLASSES)).astype(np.float32)
LABELS = RNG.integers(0, CLASSES, COUNT)
LABELS[0] = CLASSES - 1


class Recorder:
    """Progress that remembers."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def start(self, label: str, total: int | None) -> None:
        self.events.append((label, total))

    def advance(self, steps: int = 1, note: str = "") -> None:
        self.events.append(steps)

    def finish(self) -> None:
        self.events.append("finished")


@pytest.fixture
def numbered(tmp_path: Path) -> Dataset:
    """Sample i is the number i; a session looks its scores up."""
    x = np.repeat(np.arange(COUNT, dtype=np.float32)[:, None], 4, axis=1)
    np.savez(tmp_path / "numbered.npz", x=x, y=LABELS)
    return open_dataset(DataSpec(set=str(tmp_path / "numbered.npz")))


def look_up(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
    scores: npt.NDArray[Any] = SCORES[x[:, 0].astype(int)]
    return scores


def test_figures_equal_those_of_scikit_learn(numbered: Dataset, make_session: MakeSession) -> None:
    result = classify(make_session(look_up), numbered, None, batch=5)
    expected = SCORES.argmax(axis=1)
    np.testing.assert_array_equal(result.predictions, expected)
    np.testing.assert_array_equal(result.targets, LABELS)
    report = result.report
    assert report.top1.value == pytest.approx(accuracy_score(LABELS, expected))
    assert report.top5 is not None
    assert report.top5.value == pytest.approx(
        top_k_accuracy_score(LABELS, SCORES, k=5, labels=range(CLASSES))
    )
    assert (report.top1.n, report.dataset, report.runtime) == (COUNT, "numbered.npz/all", "numpy")
    assert report.predictions_digest == predictions_digest(expected)
    assert result.warnings == ()
    assert evaluate_session(make_session(look_up), numbered, None) == report


def test_a_dynamic_batch_is_used_and_a_fixed_one_is_filled(
    numbered: Dataset, make_session: MakeSession
) -> None:
    dynamic, single = make_session(look_up), make_session(look_up, shape=(1, 4))
    filled = make_session(look_up, shape=(8, 4), outputs=((8, 10),))
    reports = [
        evaluate_session(session, numbered, None, batch=10)
        for session in (dynamic, single, filled)
    ]
    assert reports[0] == reports[1] == reports[2]
    assert dynamic.fed == [10, 10, 3]
    assert single.fed == [1] * COUNT
    assert filled.fed == [8, 8, 8]


def test_progress_counts_samples(numbered: Dataset, make_session: MakeSession) -> None:
    recorder = Recorder()
    classify(make_session(look_up), numbered, None, batch=20, progress=recorder)
    assert recorder.events == [("accuracy on numbered.npz/all", COUNT), 20, 3, "finished"]


def test_progress_ends_also_when_the_run_fails(
    numbered: Dataset, make_session: MakeSession
) -> None:
    def fail(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        raise RuntimeError("broken")

    recorder = Recorder()
    with pytest.raises(RuntimeError, match="broken"):
        classify(make_session(fail), numbered, None, progress=recorder)
    assert recorder.events[-1] == "finished"


def test_top5_says_nothing_with_five_classes(make_session: MakeSession, tmp_path: Path) -> None:
    np.savez(tmp_path / "five.npz", x=np.zeros((5, 4), np.float32), y=np.arange(5))
    five = open_dataset(DataSpec(set=str(tmp_path / "five.npz")))

    def score(x: npt.NDArray[Any]) -> npt.NDArray[Any]:
        return np.zeros((len(x), 5), np.float32)

    report = evaluate_session(make_session(score), five, None)
    assert report.top5 is None
    # All scores are equal, so that the lowest class is predicted.
    assert report.top1.hits == 1


def test_of_equal_scores_the_lower_class_comes_first(
    numbered: Dataset, make_session: MakeSession
) -> None:
    report = evaluate_session(
        make_session(lambda x: np.zeros((len(x), 10), np.int8)), numbered, None
    )
    assert report.top1.hits == (LABELS == 0).sum()
    assert report.top5 is not None
    assert report.top5.hits == (LABELS < 5).sum()


def test_trailing_axes_of_one_are_dropped(numbered: Dataset, make_session: MakeSession) -> None:
    session = make_session(lambda x: look_up(x)[:, :, None, None], outputs=(("batch", 10, 1, 1),))
    plain = evaluate_session(make_session(look_up), numbered, None)
    assert evaluate_session(session, numbered, None) == plain


def test_the_only_output_of_rank_2_is_the_class_scores(
    numbered: Dataset, make_session: MakeSession
) -> None:
    session = make_session(look_up, outputs=(("batch", 8, 4, 4), ("batch", 10)))
    features = np.zeros((1, 8, 4, 4), np.float32)
    session.function = lambda feeds: {"out0": features, "out1": look_up(feeds["x"])}
    plain = evaluate_session(make_session(look_up), numbered, None)
    assert evaluate_session(session, numbered, None) == plain


def test_an_output_that_is_no_class_vector_is_refused(
    numbered: Dataset, make_session: MakeSession
) -> None:
    boxes = make_session(
        lambda x: np.zeros((len(x), 4420, 2), np.float32), outputs=(("batch", 4420, 2),)
    )
    with pytest.raises(InputError, match=r"output out0: .*gave \[23, 4420, 2\] for 23 samples"):
        classify(boxes, numbered, None)
    single = make_session(lambda x: np.zeros((len(x), 1)), outputs=(("batch", 1),))
    with pytest.raises(InputError, match="this model is no classifier"):
        classify(single, numbered, None)


def test_too_few_classes_are_refused_and_too_many_are_told(
    numbered: Dataset, make_session: MakeSession
) -> None:
    few = make_session(lambda x: look_up(x)[:, :9], outputs=(("batch", 9),))
    with pytest.raises(
        InputError, match=r"out0: .* has 9 classes, but data set 'numbered\.npz' has"
    ):
        classify(few, numbered, None)
    many = make_session(
        lambda x: np.concatenate([look_up(x), look_up(x) - 99], axis=1), outputs=(("batch", 20),)
    )
    result = classify(many, numbered, None)
    assert result.report.top1.hits == (SCORES.argmax(axis=1) == LABELS).sum()
    assert "has 20 classes, the data set 10" in result.warnings[0]


def test_nan_scores_are_no_prediction(numbered: Dataset, make_session: MakeSession) -> None:
    broken = SCORES.copy()
    broken[17, 3] = np.nan
    session = make_session(lambda x: broken[x[:, 0].astype(int)])
    with pytest.raises(VerificationError, match="NaN for 1 of 5 samples, first for sample 17"):
        classify(session, numbered, None, batch=5)


def test_classes_of_another_order_are_matched_by_name(
    numbered: Dataset, make_session: MakeSession
) -> None:
    order = np.random.default_rng(0).permutation(CLASSES)
    session = make_session(lambda x: look_up(x)[:, order])
    names = tuple(str(index) for index in order)
    result = classify(session, numbered, None, model_labels=names)
    plain = classify(make_session(look_up), numbered, None)
    assert result.report.top1 == plain.report.top1
    assert result.report.top5 == plain.report.top5
    np.testing.assert_array_equal(order[result.predictions], plain.predictions)
    np.testing.assert_array_equal(order[result.targets], LABELS)


def test_several_inputs_come_from_an_npz_by_name(
    tmp_path: Path, make_session: MakeSession
) -> None:
    values = np.arange(COUNT, dtype=np.float32)[:, None]
    np.savez(tmp_path / "two.npz", a=values, b=values * 2, y=LABELS)
    two = open_dataset(DataSpec(set=str(tmp_path / "two.npz")))
    inputs = tuple(TensorSpec(name=name, shape=("batch", 1)) for name in ("a", "b"))
    session = make_session(look_up)
    session.signature = ModelSignature(inputs=inputs, outputs=session.signature.outputs)

    def function(feeds: dict[str, Any]) -> dict[str, Any]:
        np.testing.assert_array_equal(feeds["b"], feeds["a"] * 2)
        return {"out0": look_up(feeds["a"])}

    session.function = function
    assert evaluate_session(session, two, None).top1.n == COUNT
    with pytest.raises(InputError, match=r"has 2 inputs .*'digits' gives samples for one"):
        evaluate_session(session, open_dataset(DataSpec(set="digits")), None)


def test_agreement_is_the_share_of_equal_predictions() -> None:
    result = agreement([1, 2, 3, 4], [1, 2, 0, 4])
    assert (result.hits, result.n, result.value) == (3, 4, 0.75)
    for one, other in (([1, 2, 3], [1, 2]), ([], [])):
        with pytest.raises(InputError, match="same data set, split and limit"):
            agreement(one, other)


def test_the_digest_does_not_depend_on_the_integer_type() -> None:
    rows = [3, 1, 2]
    assert predictions_digest(rows) == predictions_digest(np.array(rows, np.int32))
    assert predictions_digest(rows) != predictions_digest([1, 3, 2])


def test_a_session_of_the_contract_is_enough(make_session: MakeSession) -> None:
    session: Session = make_session(look_up)
    assert session.runtime == "numpy"
