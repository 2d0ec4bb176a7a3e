"""Whether a model learns from labels, or by imitating the float model alone."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.errors import InputError
from edgekit.measure.class_scores import class_output

_ABOVE_CHANCE = 0.25
"""Share of the way from guessing to knowing that the float model must have come for the labels
to be taken as those that it was trained for."""


@dataclass(frozen=True, slots=True)
class LabelFacts:
    """What is known of a data set's labels.

    Attributes:
        dataset: Name of the set.
        classes: Classes that the model would have to tell apart, by its own index; 0 for a set
            without labels.
        float_accuracy: Measures the share of samples that the float model gets right; None where
            there is no float model.
    """

    dataset: str
    classes: int
    float_accuracy: Callable[[], float] | None = None


@dataclass(frozen=True, slots=True)
class ChosenTask:
    """What is trained for.

    Attributes:
        task: See `edgekit.training.qat.config.QatConfig`.
        reason: Why; empty when it was asked for.
    """

    task: Literal["classify", "imitate"]
    reason: str = ""


def choose_task(
    wanted: Literal["auto", "classify", "imitate"], signature: ModelSignature, facts: LabelFacts
) -> ChosenTask:
    """Settles what is trained for, and refuses what cannot be.

    ``"auto"`` classifies where the set has labels, the model gives scores for all of its
    classes, and the float model is clearly better than guessing: images of something else with
    as many classes would teach it nonsense.

    Raises:
        InputError: If ``"classify"`` is asked for and set or model have no classes that fit.
    """
    if wanted == "imitate":
        return ChosenTask("imitate")
    problem = _label_problem(class_output(signature), facts)
    if wanted == "classify":
        if problem:
            raise InputError(
                f"task = 'classify' cannot be trained: {problem}. Name a set with the labels that "
                "the model predicts, or use task = 'imitate', which needs none"
            )
        return ChosenTask("classify")
    if problem:
        return ChosenTask("imitate", f"task = 'imitate': {problem}")
    if facts.float_accuracy is not None:
        accuracy, guessing = facts.float_accuracy(), 1.0 / facts.classes
        if accuracy < guessing + _ABOVE_CHANCE * (1.0 - guessing):
            return ChosenTask(
                "imitate",
                f"task = 'imitate': the float model is right on only {accuracy:.1%} of "
                f"{facts.dataset}, so the labels seem not to be those that it was trained for; "
                "ask for task = 'classify' if they are",
            )
    return ChosenTask("classify", f"task = 'classify': {facts.dataset} has labels")


def class_scores_of(output: Tensor) -> Tensor:
    """Class scores as ``[N, classes]``; trailing axes of size 1 are dropped."""
    while output.ndim > 2 and output.shape[-1] == 1:
        output = output.squeeze(-1)
    return output


def class_output_index(signature: ModelSignature) -> int:
    """Position of the output that holds class scores."""
    return signature.outputs.index(class_output(signature))


def _label_problem(output: TensorSpec, facts: LabelFacts) -> str:
    if not facts.classes:
        return f"{facts.dataset} has no labels"
    shape = list(output.shape)
    while len(shape) > 2 and shape[-1] == 1:
        shape.pop()
    if len(shape) != 2 or shape[1] == 1 or not output.dtype.startswith("float"):
        return f"the model gives no class scores [N, classes], but {output}"
    if isinstance(shape[1], int) and shape[1] < facts.classes:
        return (
            f"the model gives scores for {shape[1]} classes, but {facts.dataset} has "
            f"{facts.classes}"
        )
    return ""
