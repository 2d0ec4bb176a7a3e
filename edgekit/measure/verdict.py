"""What a comparison of layers comes to, in words."""

from __future__ import annotations

from collections.abc import Sequence

from edgekit.core.layer_error import LayerError
from edgekit.measure.culprits import Judgement

_MENTIONED = 3


def verdict_on(judgement: Judgement) -> str:
    """The finding in a few sentences: the first culprit, or that none stands out."""
    layers = judgement.layers
    if judgement.alien:
        return (
            "Most layers compute something else than the reference, each on the reference's own "
            "values: this is another model, or the same one with other weights."
        )
    if judgement.culprits:
        return _with_culprit(judgement)
    measured = [layer for layer in layers if layer.own is not None]
    if all(layer.cumulative.equal for layer in layers) and all(
        layer.own is not None and layer.own.equal for layer in measured
    ):
        return f"No difference: all {len(layers)} tensors are equal, element by element."
    if not measured:
        return (
            "No layer could be run alone, so own and inherited error cannot be told apart: "
            f"{layers[0].own_missing}."
        )
    text = (
        f"No layer is out of line: the own errors of all {len(measured)} that could be run alone "
        "are what their number formats explain"
    )
    if judgement.ranking:
        nearest = judgement.ranking[0]
        text += f"; {nearest!r} is nearest to its limit"
    return f"{text}.{_of_outputs(layers)}"


def _with_culprit(judgement: Judgement) -> str:
    first, *others = judgement.culprits
    text = f"First culprit: {first.text}."
    if first.layer:
        text += f" In the reference this is node {first.layer!r}."
    if others:
        names = ", ".join(repr(item.tensor) for item in others[:_MENTIONED])
        more = f" and {len(others) - _MENTIONED} more" if len(others) > _MENTIONED else ""
        text += f" Also out of line: {names}{more}."
    return text + _of_outputs(judgement.layers)


def _of_outputs(layers: Sequence[LayerError]) -> str:
    """How much of an output's error is inherited."""
    for layer in layers:
        if not layer.is_output or layer.cumulative.sqnr_db is None or layer.own_share is None:
            continue
        inherited = 1 - layer.own_share
        return (
            f" Output {layer.tensor!r} is at {layer.cumulative.sqnr_db:.1f} dB; it inherits "
            f"{inherited:.0%} of its error."
        )
    return ""
