"""What structured pruning did."""

from __future__ import annotations

from dataclasses import dataclass

from edgekit.training.pruning.cost import Cost


@dataclass(frozen=True, slots=True)
class LayerChannels:
    """Output channels of a layer.

    Attributes:
        layer: Dotted name; in a twin the name of the ONNX node.
        before: Channels it had.
        after: Channels it has.
    """

    layer: str
    before: int
    after: int


@dataclass(frozen=True, slots=True)
class KeptWhole:
    """Layers that were not pruned, since their channels only go together.

    Attributes:
        layers: Dotted names; in a twin names of ONNX nodes.
        reason: Why.
    """

    layers: tuple[str, ...]
    reason: str


@dataclass(frozen=True, slots=True)
class PruneReport:
    """Result of structured pruning.

    Attributes:
        before: MACs and parameters before, for the example inputs.
        after: The same afterwards.
        channels: Every convolution and linear layer, in the module's order.
        kept_whole: What could not be pruned, or was not to be.
        goal: Share of MACs or of latency that was to be left at most.
        latency_ms: Measured before and after; None where latency was not the goal.
    """

    before: Cost
    after: Cost
    channels: tuple[LayerChannels, ...]
    kept_whole: tuple[KeptWhole, ...]
    goal: float
    latency_ms: tuple[float, float] | None = None

    @property
    def macs_ratio(self) -> float:
        """Share of the MACs that is left."""
        return self.after.macs / self.before.macs

    @property
    def parameters_ratio(self) -> float:
        """Share of the parameters that is left."""
        return self.after.parameters / self.before.parameters
