"""Which layers' own errors are out of line with what the artifact's format explains.

A quantized tensor with step ``s`` cannot be closer to the reference than rounding, ``s**2 / 12``.
In that unit the parts of its own error are alike in all layers of a sound artifact, whatever
their values: clipping below 4, computation (weights and arithmetic) below 3, the step 0.7 to 1.3
times what the values need, measured on ResNet-20, MobileNetV2 and a vision transformer, in TFLite
and Core ML. A tensor of floats has no such unit; its own error is held to the others'.

Clipping alone does not tell a range that is wrong from one that few samples gave: of the sound
networks calibrated on 4 to 32 images, scores are clipped by 20 to 500 units. But a value beyond
the range of ``n`` samples comes in about one of ``n + 1``, and measured there in half of the
samples at most, while a range that is half as wide as it should be is exceeded in all of them.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median

import numpy as np

from edgekit.core.layer_error import Cause, Culprit, LayerError

_CLIPPING_LIMIT = 15.0
"""Clipping noise, in units of rounding noise, above which a range is too narrow."""
_CLIPPED_SAMPLES = 0.75
"""Share of the samples with values beyond a range, above which it is wrong and not just short."""
_COMPUTATION_LIMIT = 10.0
"""The same of what operators compute otherwise."""
_STEP_LIMIT = 1.7
"""Step over what the values need, and over the other layers', above which a range is too wide."""
_SHORT_STEP = 0.8
"""Median of that ratio at least: ranges of few samples are shorter, those of 4 images 0.86."""
_TIMES_MEDIAN = 6.0
"""By how much the first two have to exceed the median of the layers, where that is large."""
_RELATIVE_DB = 15.0
"""By how much the own error of a quantized layer, over its values, has to be worse than the median
layer's. Rounding is 28 dB and more below the values in the sound artifacts named above."""
_SOUND_DB = 26.0
"""A quantized layer that is better over its values is never out of line for that alone."""
_FLOAT_EXCESS_DB = 15.0
"""By how much a float layer has to be worse than the median of its kind."""
_FLOAT_SOUND_DB = {"float32": 90.0, "float16": 50.0}
"""A float layer that is better than this is never out of line."""
_FLOAT_WEIGHTS_DB = 60.0
"""Median of float layers below which their weights must be integers: then `_SOUND_DB` holds."""
_FEW = 4
"""With fewer float layers of a kind, their median tells nothing."""
_FEW_FLOOR_DB = 26.0
"""What a float layer has to reach where there are few."""
_ALIEN_DB = 15.0
"""Own error of the median layer at which the artifact does not compute the reference at all."""
_WORST_DB = 1000.0
"""Given to layers that cannot be measured: NaN, or refused by the runtime."""


@dataclass(frozen=True, slots=True)
class Judgement:
    """What the errors of all layers tell.

    Attributes:
        layers: With `LayerError.excess_db` and `LayerError.out_of_line` filled in.
        ranking: Tensors with an own error, the one farthest out of line first.
        culprits: Layers out of line, the first one first.
        alien: Whether most layers compute something else.
        short: Tensors with values beyond their range in some of the samples, as after calibration
            on few; no culprits.
    """

    layers: tuple[LayerError, ...]
    ranking: tuple[str, ...]
    culprits: tuple[Culprit, ...]
    alien: bool
    short: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Findings:
    """What the errors of layers do not tell.

    Attributes:
        not_finite: Elements that are NaN or infinite in the artifact, by tensor.
        refused: Why the runtime refuses the operators of a tensor.
        reads: Tensors that the operators of a tensor read, where the artifact tells.
    """

    not_finite: Mapping[str, int]
    refused: Mapping[str, str]
    reads: Mapping[str, tuple[str, ...]]


def judge(layers: Sequence[LayerError], findings: Findings) -> Judgement:
    """Ranks layers by how far their own errors are out of line.

    1. NaN, infinity, or operators that the runtime refuses.
    2. Of quantized tensors, clipping in most samples or computation beyond their limits, or a
       step that is too wide; or an own error that is much larger over the tensor's values than
       in other layers, which is put down to the largest of its parts.
    3. Of tensors of floats, an own error well above the others' of the same type.
    4. Where a wrong step or range also makes its readers compute wrongly, as a bias in a TFLite
       file is counted in steps of the input, the tensor with that step comes first.

    Args:
        layers: In order of execution.
        findings: What was noticed besides.
    """
    limits = _Limits(layers)
    judged: list[LayerError] = []
    causes: dict[str, Cause] = {}
    for layer in layers:
        excess, cause = limits.excess(layer)
        if findings.not_finite.get(layer.tensor):
            excess, cause = _WORST_DB, "not-finite"
        elif layer.tensor in findings.refused and layer.own is None:
            excess, cause = _WORST_DB, "refused"
        out = excess is not None and excess > 0
        if out and cause is not None:
            causes[layer.tensor] = cause
        judged.append(layer.model_copy(update={"excess_db": excess, "out_of_line": out}))
    ranked = sorted(
        (layer for layer in judged if layer.excess_db is not None),
        key=lambda layer: -(layer.excess_db or 0.0),
    )
    worst = _with_origins_first(
        [layer for layer in ranked if layer.out_of_line], causes, findings.reads
    )
    culprits = tuple(
        Culprit(
            tensor=layer.tensor,
            layer=layer.layer,
            operators=layer.operators,
            cause=causes[layer.tensor],
            text=_described(layer, causes[layer.tensor], findings),
        )
        for layer in worst
    )
    ranking = tuple(dict.fromkeys(layer.tensor for layer in (*worst, *ranked)))
    short = tuple(
        layer.tensor for layer in judged if not layer.out_of_line and limits.is_short(layer)
    )
    return Judgement(tuple(judged), ranking, culprits, limits.alien, short)


class _Limits:
    """What is ordinary in one artifact."""

    def __init__(self, layers: Sequence[LayerError]) -> None:
        quantized = [layer for layer in layers if _noisy(layer) and layer.parts is not None]
        # With 16-bit activations the error is that of 8-bit weights, which has another unit.
        coarse = [_units(layer)[1] for layer in quantized if layer.dtype != "int16"]
        self._computation = _limit(_COMPUTATION_LIMIT, coarse)
        ratios = [
            layer.parts.step_ratio
            for layer in quantized
            if layer.parts is not None and layer.parts.step_ratio is not None
        ]
        self._step = _STEP_LIMIT * max(_SHORT_STEP, median(ratios) if ratios else 1.0)
        quality = [
            layer.own.sqnr_db
            for layer in quantized
            if layer.own is not None and layer.own.sqnr_db is not None
        ]
        self._quality = median(quality) if len(quality) >= _FEW else None
        self._floats: dict[str, list[float]] = {}
        for layer in layers:
            if layer.parts is None and layer.own is not None and layer.own.sqnr_db is not None:
                self._floats.setdefault(layer.dtype, []).append(layer.own.sqnr_db)
        own = [
            layer.own.sqnr_db
            for layer in layers
            if layer.own is not None and layer.own.sqnr_db is not None
        ]
        self.alien = len(own) > _FEW and median(own) < _ALIEN_DB

    def excess(self, layer: LayerError) -> tuple[float | None, Cause | None]:
        """By how many dB a layer is beyond its limit, and what is; None where it has no error."""
        if not _noisy(layer):
            return None, None
        if layer.parts is None:
            return self._float_excess(layer), "computation"
        clipping, computation = _units(layer)
        # What cannot exceed a limit is far within it, so that there always is a figure.
        found: list[tuple[float, Cause]] = [(_db(0.0), "computation")]
        if _mostly_clipped(layer):
            found.append((_db(clipping / _CLIPPING_LIMIT), "clipping"))
        if layer.dtype != "int16":
            found.append((_db(computation / self._computation), "computation"))
        if layer.parts.step_ratio is not None:
            found.append((2 * _db(layer.parts.step_ratio / self._step), "coarse-step"))
        if self._quality is not None and layer.own is not None and layer.own.sqnr_db is not None:
            floor = min(self._quality - _RELATIVE_DB, _SOUND_DB)
            part = _largest_part(layer)
            if part != "clipping" or _mostly_clipped(layer):
                found.append((floor - layer.own.sqnr_db, part))
        return max(found, key=lambda item: item[0])

    def is_short(self, layer: LayerError) -> bool:
        """Whether values lie beyond the layer's range, but not in most samples."""
        if not _noisy(layer) or layer.parts is None or _mostly_clipped(layer):
            return False
        return _units(layer)[0] > _CLIPPING_LIMIT

    def _float_excess(self, layer: LayerError) -> float | None:
        assert layer.own is not None
        if layer.own.sqnr_db is None:
            # The reference is 0 throughout and the artifact is not.
            return _WORST_DB
        others = self._floats.get(layer.dtype, [])
        if len(others) < _FEW:
            return _FEW_FLOOR_DB - layer.own.sqnr_db
        ordinary = median(others)
        sound = _FLOAT_SOUND_DB.get(layer.dtype, _FLOAT_SOUND_DB["float32"])
        if ordinary < _FLOAT_WEIGHTS_DB:
            sound = _SOUND_DB
        return min(ordinary - _FLOAT_EXCESS_DB, sound) - layer.own.sqnr_db


def _noisy(layer: LayerError) -> bool:
    return layer.own is not None and not layer.own.equal


def _units(layer: LayerError) -> tuple[float, float]:
    """Clipping and computation in units of rounding noise."""
    assert layer.parts is not None
    assert layer.scale is not None
    rounding = layer.scale**2 / 12
    return layer.parts.clipping / rounding, layer.parts.computation / rounding


def _mostly_clipped(layer: LayerError) -> bool:
    return layer.parts is not None and layer.parts.clipped_samples > _CLIPPED_SAMPLES


def _largest_part(layer: LayerError) -> Cause:
    assert layer.parts is not None
    parts: list[tuple[float, Cause]] = [
        (layer.parts.rounding, "wide-range"),
        (layer.parts.clipping, "clipping"),
        (layer.parts.computation, "computation"),
    ]
    return max(parts)[1]


def _limit(least: float, values: Sequence[float]) -> float:
    return max(least, _TIMES_MEDIAN * median(values)) if values else least


def _db(ratio: float) -> float:
    return float(10 * np.log10(max(ratio, 1e-12)))


def _with_origins_first(
    worst: list[LayerError],
    causes: Mapping[str, Cause],
    reads: Mapping[str, tuple[str, ...]],
) -> list[LayerError]:
    """Puts a tensor with a wrong step or range before readers that compute wrongly for it."""
    ordered = list(worst)
    for reader in worst:
        if causes[reader.tensor] != "computation":
            continue
        for layer in worst:
            of_range = causes[layer.tensor] in {"coarse-step", "clipping"}
            if not of_range or layer.tensor not in reads.get(reader.tensor, ()):
                continue
            if ordered.index(layer) > ordered.index(reader):
                ordered.remove(layer)
                ordered.insert(ordered.index(reader), layer)
    return ordered


def _described(layer: LayerError, cause: Cause, findings: Findings) -> str:
    """The finding on one layer in a sentence."""
    made = f"{' + '.join(layer.operators) or 'nothing'}, which makes {layer.tensor!r}"
    own = layer.own
    if cause == "not-finite":
        return f"{made}, gives {findings.not_finite[layer.tensor]} values that are NaN or infinite"
    if cause == "refused" or own is None:
        return f"{made}, cannot be run alone: {findings.refused.get(layer.tensor, '')}"
    error = "nothing but error" if own.sqnr_db is None else f"{own.sqnr_db:.1f} dB"
    parts = layer.parts
    if parts is None:
        return f"{made}, computes something else: {error} on the reference's own values"
    if cause == "clipping":
        return (
            f"{made}, clips {parts.clipped_share:.2%} of its values, in "
            f"{parts.clipped_samples:.0%} of the samples: its scale {layer.scale:.4g} is too "
            f"small for them ({error} on the reference's own values)"
        )
    if cause == "coarse-step":
        return (
            f"{made}, has a scale of {layer.scale:.4g}, {parts.step_ratio:.1f} times what its "
            f"values on these samples need ({error} on the reference's own values)"
        )
    if cause == "wide-range":
        return (
            f"{made}, has values of too different sizes for {layer.dtype}: a step of "
            f"{layer.scale:.4g}, which the largest need, rounds the others away ({error} on the "
            "reference's own values)"
        )
    return (
        f"{made}, computes something else than its integers' rounding explains: {error} on the "
        f"reference's own values, {own.lsb:.0f} steps at most"
    )
