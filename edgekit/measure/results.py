"""What the measuring stages write as metrics artifacts."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Literal

from edgekit.core.metrics import AccuracyReport, LatencyStats, Unavailable
from edgekit.core.model_base import FrozenModel


class EvaluationResult(FrozenModel):
    """Accuracy of one artifact, with every prediction for later comparison.

    Attributes:
        kind: Tells this from other metrics.
        version: Of this form.
        model_digest: The artifact that was evaluated.
        target: Target whose runtime ran it; ``"reference"`` for the reference session.
        precision: Numeric form of the artifact; empty for a canonical graph.
        accuracy: The figures, or why this machine has none.
        predictions: Best class of each sample in order; empty when unavailable.
        targets: True class of each sample, by the model's own index; empty when unavailable.
        warnings: What the user should know before trusting the figures.
    """

    kind: Literal["evaluation"] = "evaluation"
    version: Literal[1] = 1
    model_digest: str
    target: str
    precision: str
    accuracy: AccuracyReport | Unavailable
    predictions: tuple[int, ...] = ()
    targets: tuple[int, ...] = ()
    warnings: tuple[str, ...] = ()


class BenchmarkResult(FrozenModel):
    """Size, latency and memory of one artifact.

    Attributes:
        kind: Tells this from other metrics.
        version: Of this form.
        model_digest: The artifact that was measured.
        target: Target whose runtime ran it.
        precision: Numeric form of the artifact.
        size_bytes: Size of the artifact on disk.
        latency: The figures, or why this machine has none.
    """

    kind: Literal["benchmark"] = "benchmark"
    version: Literal[1] = 1
    model_digest: str
    target: str
    precision: str
    size_bytes: int
    latency: LatencyStats | Unavailable


def write_result(path: Path, result: EvaluationResult | BenchmarkResult) -> Path:
    """Writes beside and then in place, so that no half-written file is ever seen."""
    beside = path.with_name(path.name + ".part")
    beside.write_text(result.model_dump_json() + "\n", encoding="utf-8")
    os.replace(beside, path)
    return path
