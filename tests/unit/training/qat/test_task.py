"""What is trained for is settled by the data, and told."""

from __future__ import annotations

import pytest

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import InputError
from edgekit.training.qat.task import LabelFacts, choose_task, class_output_index

IMAGE = TensorSpec(name="image", shape=("batch", 1, 8, 8))


def signature(*shape: int | str, dtype: str = "float32") -> ModelSignature:
    scores = TensorSpec.model_validate({"name": "scores", "shape": shape, "dtype": dtype})
    return ModelSignature(inputs=(IMAGE,), outputs=(scores,))


CLASSIFIER = signature("batch", 10)


def facts(classes: int, accuracy: float | None = None) -> LabelFacts:
    return LabelFacts("shapes/train", classes, None if accuracy is None else lambda: accuracy)


@pytest.mark.parametrize(
    ("given", "known", "task", "reason"),
    [
        (CLASSIFIER, facts(10, 0.9), "classify", "shapes/train has labels"),
        (CLASSIFIER, facts(7), "classify", "shapes/train has labels"),
        (CLASSIFIER, facts(0), "imitate", "shapes/train has no labels"),
        (CLASSIFIER, facts(12), "imitate", "scores for 10 classes, but shapes/train has 12"),
        (CLASSIFIER, facts(10, 0.31), "imitate", "right on only 31.0% of shapes/train"),
        (CLASSIFIER, facts(10, 0.33), "classify", "has labels"),
        (signature("batch", 1000, 1, 1), facts(10, 0.5), "classify", "has labels"),
        (signature("batch", 4, 8, 8), facts(10), "imitate", "no class scores [N, classes]"),
        (signature("batch", 1), facts(2), "imitate", "no class scores [N, classes]"),
        (signature("batch", 10, dtype="int64"), facts(10), "imitate", "no class scores"),
    ],
)
def test_auto_goes_by_labels_scores_and_the_float_model(
    given: ModelSignature, known: LabelFacts, task: str, reason: str
) -> None:
    chosen = choose_task("auto", given, known)
    assert chosen.task == task
    assert chosen.reason.startswith(f"task = '{task}': ")
    assert reason in chosen.reason


def test_what_is_asked_for_needs_no_reason() -> None:
    assert choose_task("imitate", CLASSIFIER, facts(10, 0.9)).reason == ""
    # However bad the float model is.
    assert choose_task("classify", CLASSIFIER, facts(10, 0.1)).task == "classify"


@pytest.mark.parametrize(
    ("given", "classes", "problem"),
    [
        (CLASSIFIER, 0, r"shapes/train has no labels\. Name a set with the labels"),
        (CLASSIFIER, 12, r"gives scores for 10 classes, but shapes/train has 12\. Name a set"),
        (signature("batch", 2, 3), 10, r"no class scores \[N, classes\], but scores: float32\["),
    ],
)
def test_classifying_without_classes_is_refused(
    given: ModelSignature, classes: int, problem: str
) -> None:
    with pytest.raises(InputError, match=rf"cannot be trained: .*{problem}"):
        choose_task("classify", given, facts(classes))


def test_class_scores_may_be_another_output() -> None:
    boxes = TensorSpec(name="boxes", shape=("batch", 4, 8, 8))
    several = CLASSIFIER.model_copy(update={"outputs": (boxes, *CLASSIFIER.outputs)})
    assert class_output_index(several) == 1
