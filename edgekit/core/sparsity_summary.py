"""What making single weights 0 did, typed."""

from __future__ import annotations

from edgekit.core.model_base import FrozenModel


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


class DenseLayers(FrozenModel):
    """Layers that were left as they were.

    Attributes:
        layers: Names of the nodes.
        reason: Why.
    """

    layers: tuple[str, ...]
    reason: str


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
    dense: tuple[DenseLayers, ...] = ()
    zeros: int
    weights: int
    compressed_bytes: tuple[int, int]
    dataset: str = ""
    samples: int = 0
    output_error: tuple[float, float] | None = None
    gains: tuple[SparsityGain, ...] = ()
