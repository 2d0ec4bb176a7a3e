"""How close a quantized graph is to its float form: signal to quantization noise."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Protocol

import numpy as np
import onnx_ir as ir

from edgekit.errors import InputError
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.values import Array


class Metric(Protocol):
    """Accuracy of a graph on labelled data that nothing was calibrated with."""

    def __call__(self, model: ir.Model) -> float:
        """Higher is better, for example top-1 as a share; run the graph with `simulate`."""

    def noise(self, value: float) -> float:
        """Standard error of ``value``; smaller differences decide nothing."""


SQNR_LIMIT = 200.0
"""dB given to equal outputs, whose noise is 0."""


class SqnrMeter:
    """Signal to quantization noise ratio of several outputs over many batches."""

    def __init__(self) -> None:
        self._power: dict[str, list[float]] = {}

    def update(self, reference: Mapping[str, Array], candidate: Mapping[str, Array]) -> None:
        """Takes in one batch of outputs; outputs that are not floating point do not count."""
        for name, expected in reference.items():
            if not np.issubdtype(expected.dtype, np.floating):
                continue
            signal = expected.astype(np.float64)
            noise = signal - candidate[name].astype(np.float64)
            power = self._power.setdefault(name, [0.0, 0.0])
            power[0] += float(np.sum(signal**2))
            power[1] += float(np.sum(noise**2))

    def result(self) -> float:
        """``10 log10(signal / noise)`` in dB, averaged over the outputs."""
        ratios = [_decibels(signal, noise) for signal, noise in self._power.values()]
        return float(np.mean(ratios)) if ratios else SQNR_LIMIT


def measure_sqnr(
    reference: ir.Model, candidates: Sequence[ir.Model], feeds: Iterable[Mapping[str, Array]]
) -> list[float]:
    """SQNR of each candidate's outputs against those of ``reference``, in dB.

    Args:
        reference: Float graph.
        candidates: Graphs with the same inputs and outputs.
        feeds: Batches by input name; passed over once.

    Raises:
        InputError: If there are no batches.
    """
    meters = [SqnrMeter() for _ in candidates]
    expected_of = ReferenceSession(reference)
    sessions = [simulate(candidate) for candidate in candidates]
    batches = 0
    for batch in feeds:
        expected = expected_of.run(batch)
        for meter, session in zip(meters, sessions, strict=True):
            meter.update(expected, session.run(batch))
        batches += 1
    if not batches:
        raise InputError("No data to compare the quantized model on: the set is empty")
    return [meter.result() for meter in meters]


def simulate(model: ir.Model) -> ReferenceSession:
    """A session that computes a QDQ graph as it is written, in float between the pairs.

    With more optimization ONNX Runtime 1.26 fuses pairs into integer kernels, which on x86
    without VNNI add up products of 8-bit integers in 16 bits and saturate: on such a machine
    the SQNR of a graph can read 14 dB where its integers are worth 25.
    """
    return ReferenceSession(model, optimization="basic")


def _decibels(signal: float, noise: float) -> float:
    if noise == 0.0:
        return SQNR_LIMIT
    if signal == 0.0:
        return -SQNR_LIMIT
    return float(np.clip(10 * np.log10(signal / noise), -SQNR_LIMIT, SQNR_LIMIT))
