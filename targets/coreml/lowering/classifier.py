"""A model that names its best class: Core ML's classifier."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgekit.core.metadata import ModelMetadata
from edgekit.targets.coreml.lowering.emitter import Emitter, kind_of, rank_of, shape_of
from edgekit.targets.coreml.lowering.registry import Var

if TYPE_CHECKING:
    from edgekit.targets.coreml.lowering.interface import Interface


@dataclass(frozen=True, slots=True)
class Classifier:
    """Class labels, and the output that holds their probabilities."""

    labels: tuple[str, ...]
    probabilities: str


def plan_classifier(
    e: Emitter, plan: Interface, outputs: list[Var], metadata: ModelMetadata
) -> tuple[Classifier | None, list[Var]]:
    """Adds probabilities to a model of images whose scores have a label each.

    The scores stay an output of their own; Vision's requests read label and probabilities.

    Returns:
        The classifier, None where the model is none, and the outputs.
    """
    scores = [x for x in outputs if rank_of(x) == 2 and kind_of(x) == "float"]
    labels = metadata.labels
    if not plan.image or not labels or len(set(labels)) != len(labels) or len(scores) != 1:
        return None, outputs
    if shape_of(scores[0])[1] != len(labels):
        e.note(
            f"the model has {len(labels)} labels but {shape_of(scores[0])[1]} scores, so it is no "
            "classifier"
        )
        return None, outputs
    made_by = scores[0].op.op_type if scores[0].op is not None else ""
    e.prefix = "class"
    chances = e("identity" if made_by == "softmax" else "softmax", x=scores[0])
    chances.name = e.names.unique("class_probabilities")
    chances.op.name = chances.name
    return Classifier(labels, chances.name), [*outputs, chances]
