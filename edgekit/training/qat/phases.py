"""When quantizers observe, learn and stay as they are."""

from __future__ import annotations

from edgekit.training.qat.config import QatConfig
from edgekit.training.qat.fake_quantize import TrainableFakeQuantize


class Phases:
    """Moves the quantizers from observing over learning to frozen."""

    def __init__(
        self, config: QatConfig, steps: int, quantizers: list[TrainableFakeQuantize]
    ) -> None:
        """Begins with the first phase.

        Args:
            config: Options.
            steps: Steps of an epoch.
            quantizers: All of them, each once.
        """
        total = config.epochs * steps
        self._learn_at = round(config.observer_epochs * steps)
        self._freeze_at = max(self._learn_at, total - int(config.frozen_share * total))
        self._quantizers = quantizers
        self._step = 0
        for quantizer in quantizers:
            if self._learn_at or quantizer.role == "weight":
                quantizer.observe()

    @property
    def steps_done(self) -> int:
        """Steps that have ended."""
        return self._step

    def resume(self, step: int) -> None:
        """Goes on after so many steps; quantizers are put into their phase by themselves."""
        self._step = step

    def before_step(self) -> None:
        """Begins the phase that the next step belongs to."""
        if self._step == self._learn_at:
            for quantizer in self._quantizers:
                quantizer.learn()
        if self._step == self._freeze_at:
            for quantizer in self._quantizers:
                quantizer.freeze()

    def after_step(self) -> None:
        """Lets observers take over what the step has shown."""
        self._step += 1
        for quantizer in self._quantizers:
            quantizer.end_step()
