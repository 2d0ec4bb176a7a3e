"""What pruning did to channels and to single weights, typed."""

from __future__ import annotations

from edgekit.core.model_base import FrozenModel


class LayerWidth(FrozenModel):
    """Output channels of a layer before and after pruning.

    Attributes:
        layer: Name of the node.
        before: Channels it had.
        after: Channels it has.
    """

    layer: str
    before: int
    after: int


class UnprunedLayers(FrozenModel):
    """Layers that kept all channels, or all weights.

    Attributes:
        layers: Names of the nodes; their channels only go together.
        reason: Why.
    """

    layers: tuple[str, ...]
    reason: str


class PruneSummary(FrozenModel):
    """What structured pruning removed.

    Attributes:
        step: Step of the plan.
        importance: What made a channel worth keeping.
        allocation: How the channels that go were spread over the layers.
        goal: Share of MACs, or of latency, that was to be left at most.
        macs: Multiply-accumulates of one inference before and after.
        parameters: Weights and biases before and after.
        latency_ms: Measured while pruning, before and after; None where it was not the goal.
        target: For which that holds; empty where it was not measured.
        channels: Every convolution and linear layer, in the graph's order.
        unpruned: What could not be pruned, or was not to be.
        dataset: Data set that statistics were estimated anew with; empty for none.
        samples: Samples of it.
        output_error: Squared error of the outputs beside the parent's, as a share of their
            variance, before and after that; the smaller one was kept. None without a data set.
    """

    step: str
    importance: str
    allocation: str
    goal: float
    macs: tuple[int, int]
    parameters: tuple[int, int]
    latency_ms: tuple[float, float] | None = None
    target: str = ""
    channels: tuple[LayerWidth, ...]
    unpruned: tuple[UnprunedLayers, ...] = ()
    dataset: str = ""
    samples: int = 0
    output_error: tuple[float, float] | None = None


class LayerZeros(FrozenModel):
    """Zeros among the weights of a layer.

    Attributes:
        layer: Name of the node.
        zeros: Weights that are 0.
        weights: All of them, without the bias.
    """

    layer: str
    zeros: int
    weights: int


class SparsityGain(FrozenModel):
    """What zeros gain on a target.

    Attributes:
        target: Registered name of the target.
        text: Properties of its kernels and files; not a measurement.
    """

    target: str
    text: str


class SparsifySummary(FrozenModel):
    """What unstructured or N:M pruning made 0.

    Attributes:
        step: Step of the plan.
        sparsity: Share of the weights that was to become 0; None where ``pattern`` says it.
        pattern: For example ``"2:4"``, which keeps 2 of each 4 weights along the input
            channels; empty for any places.
        scope: ``"layer"`` for that share of each layer, ``"global"`` of all together.
        layers: Every convolution and linear layer, in the graph's order.
        dense: What could not become sparse, or was not to.
        zeros: Weights of all these layers that are 0; one that two layers share counts once.
        weights: All of them.
        compressed_bytes: Size of all float32 weights of the graph deflated (zlib, level 9),
            before and after.
        dataset: Data set that statistics were estimated anew with; empty for none.
        samples: Samples of it.
        output_error: Squared error of the outputs beside the parent's, as a share of their
            variance, before and after that; the smaller one was kept. None without a data set.
        gains: What zeros gain on each target of the project.
    """

    step: str
    sparsity: float | None
    pattern: str = ""
    scope: str = "layer"
    layers: tuple[LayerZeros, ...]
    dense: tuple[UnprunedLayers, ...] = ()
    zeros: int
    weights: int
    compressed_bytes: tuple[int, int]
    dataset: str = ""
    samples: int = 0
    output_error: tuple[float, float] | None = None
    gains: tuple[SparsityGain, ...] = ()
