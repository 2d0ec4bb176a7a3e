"""What quantization-aware training gives."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from edgekit.core.run_summary import QatEpoch
from edgekit.graph.torch_twin.twin import TorchTwin


@dataclass(frozen=True, slots=True)
class QatResult:
    """What training gave.

    Attributes:
        twin: The twin that was given, with the weights and scales of the best epoch and plain
            quantizers, in evaluation mode.
        curve: The state before training and each epoch.
        best_epoch: The epoch that is kept; 0 when training did not help.
        teacher_score: Score of the float model on the same samples; None without one, and for
            ``task = "imitate"``, where it is the measure itself.
        held_out: Number of samples that the scores are measured on.
        task: What was trained for, ``"classify"`` or ``"imitate"``.
    """

    twin: TorchTwin
    curve: tuple[QatEpoch, ...]
    best_epoch: int
    teacher_score: float | None
    held_out: int
    task: Literal["classify", "imitate"]
