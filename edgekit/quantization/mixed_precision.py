"""Leaving the fewest layers out of 8 bits that keep the accuracy."""

from __future__ import annotations

import glob
from collections.abc import Callable, Sequence
from typing import Literal

from edgekit.core.model_base import FrozenModel
from edgekit.core.quant import LayerOverride, QuantScheme
from edgekit.quantization.sensitivity import LayerSensitivity

Fallback = Literal["float", "int16"]


class MixedPrecisionTrial(FrozenModel):
    """One choice of layers and what it gave.

    Attributes:
        layers: Layers left in the fallback.
        metric: Accuracy of the model.
        met: Whether that is enough.
    """

    layers: tuple[str, ...]
    metric: float
    met: bool


class MixedPrecision(FrozenModel):
    """Outcome of the search.

    Attributes:
        layers: Layers to leave in the fallback.
        met: Whether the accuracy is reached; False when leaving all layers was not enough.
        trials: Everything that was tried, in order.
    """

    layers: tuple[str, ...]
    met: bool
    trials: tuple[MixedPrecisionTrial, ...]


def search_mixed_precision(
    sensitivities: Sequence[LayerSensitivity],
    evaluate: Callable[[tuple[str, ...]], float],
    lowest_metric: float,
) -> MixedPrecision:
    """Finds few layers to leave, greedily.

    The shortest run of the most sensitive layers that reaches the accuracy is sought by
    doubling and halving. Then each of them, the least sensitive first, is taken back if the
    accuracy holds without it.

    Args:
        sensitivities: The most sensitive layer first.
        evaluate: Accuracy of the model with the given layers left in the fallback.
        lowest_metric: Accuracy to reach.
    """
    trials: list[MixedPrecisionTrial] = []

    def enough(layers: Sequence[str]) -> bool:
        metric = evaluate(tuple(layers))
        met = metric >= lowest_metric
        trials.append(MixedPrecisionTrial(layers=tuple(layers), metric=metric, met=met))
        return met

    ordered = [item.layer for item in sensitivities]
    count = _shortest_run(ordered, enough)
    if count is None:
        return MixedPrecision(layers=tuple(ordered), met=False, trials=tuple(trials))
    kept = ordered[:count]
    # Without the last one the accuracy was not reached, so it stays.
    for layer in reversed(kept[:-1]):
        fewer = [name for name in kept if name != layer]
        if enough(fewer):
            kept = fewer
    return MixedPrecision(layers=tuple(kept), met=True, trials=tuple(trials))


def _shortest_run(ordered: Sequence[str], enough: Callable[[Sequence[str]], bool]) -> int | None:
    """Number of leading layers that is enough; None when all of them are not.

    Where more layers should once give a lower accuracy, the run found is enough all the same,
    but may not be the shortest.
    """
    too_few, count = -1, 0
    while not enough(ordered[:count]):
        if count == len(ordered):
            return None
        too_few, count = count, min(max(1, 2 * count), len(ordered))
    while count - too_few > 1:
        middle = (too_few + count) // 2
        if enough(ordered[:middle]):
            count = middle
        else:
            too_few = middle
    return count


def with_fallback(scheme: QuantScheme, layers: Sequence[str], fallback: Fallback) -> QuantScheme:
    """The scheme with some layers left in float or on 16-bit activations."""
    patterns = tuple(glob.escape(layer) for layer in layers)
    if fallback == "float":
        kept = (*scheme.keep_float, *(item for item in patterns if item not in scheme.keep_float))
        return scheme.model_copy(update={"keep_float": kept})
    overrides = tuple(LayerOverride(pattern=item, activation_bits=16) for item in patterns)
    return scheme.model_copy(update={"overrides": (*scheme.overrides, *overrides)})
