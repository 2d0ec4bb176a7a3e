"""Structured pruning: a network with fewer channels, which every runtime executes faster."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from edgekit.errors import ConfigError, UnsupportedError, VerificationError
from edgekit.training.network_name import network_name
from edgekit.training.pruning import allocation
from edgekit.training.pruning.allocation import Candidate, Kept
from edgekit.training.pruning.channel_graph import (
    PRODUCERS,
    ChannelGraph,
    ChannelGroup,
    remove_channels,
)
from edgekit.training.pruning.config import PruneConfig
from edgekit.training.pruning.cost import Cost, cost_of
from edgekit.training.pruning.importance import loss_gradients, need_samples, scores
from edgekit.training.pruning.latency_table import measure_table, nearest_below
from edgekit.training.pruning.layer_names import check_names, layer_names, refuse_quantized
from edgekit.training.pruning.report import KeptWhole, LayerChannels, PruneReport
from edgekit.training.pruning.reshapes import free_reshapes
from edgekit.training.pruning.verification import fault_between, fault_of, masked
from edgekit.training.samples import Samples

type Measure = Callable[[nn.Module], float]
type AfterRound = Callable[[nn.Module, int], None]


def prune_structured(
    module: nn.Module,
    example_inputs: Tensor | Sequence[Tensor],
    config: PruneConfig,
    samples: Samples | None = None,
    *,
    measure: Measure | None = None,
    after_round: AfterRound | None = None,
) -> PruneReport:
    """Removes channels in place until the goal is met.

    Every group of channels is checked before (`verification`): one whose removal would change
    the network's outputs otherwise than its zeros would is kept whole and told in the report.

    Args:
        module: A torch module, or a `TorchTwin` (of a graph from `separate_constants`, so that
            layers that share a constant can be pruned apart); changed in place, its mode
            stays. Parameters that lose channels are new objects, so an optimizer has to be
            made afterwards.
        example_inputs: Argument or arguments of its forward.
        config: Options.
        samples: Labelled samples; needed for importance taylor.
        measure: Latency of a module in ms; needed for allocation latency.
        after_round: Called with the module and the number of the round (from 1) after each of
            ``config.iterations``, for instance to fine-tune.

    Raises:
        ConfigError: If the goal cannot be reached, with the layers that would be left empty;
            or if a pattern of ``config.keep`` names no layer.
        UnsupportedError: If nothing of the module can be pruned, with the reasons; or if it
            is quantized.
        VerificationError: If the pruned network is not what it was with zeros instead.
        MissingToolError: If torch-pruning is not installed.
    """
    need_samples(config.importance, samples)
    _check(module, config)
    if config.allocation == "latency" and measure is None:
        raise ConfigError("allocation latency needs measure, which times a module")
    inputs = (example_inputs,) if isinstance(example_inputs, Tensor) else tuple(example_inputs)
    pruning = _Pruning(module, inputs, config, samples)
    before, channels = cost_of(module, inputs), _channels(module)
    latency = None
    for number in range(1, config.iterations + 1):
        last = number == config.iterations
        goal = config.goal if last else 1 - (1 - config.goal) * number / config.iterations
        if measure is not None and config.allocation == "latency":
            latency = pruning.to_latency(goal, measure, latency)
        else:
            pruning.to_macs(goal, before)
        if after_round is not None:
            after_round(module, number)
    after = _channels(module)
    return PruneReport(
        before,
        cost_of(module, inputs),
        tuple(LayerChannels(layer, was, after[layer]) for layer, was in channels.items()),
        pruning.kept_whole,
        config.goal,
        latency,
    )


class _Pruning:
    """One module that is pruned in rounds."""

    def __init__(
        self,
        module: nn.Module,
        inputs: tuple[Tensor, ...],
        config: PruneConfig,
        samples: Samples | None,
    ) -> None:
        self._module = module
        self._inputs = inputs
        self._config = config
        self._samples = samples
        self._generator = torch.Generator().manual_seed(config.seed)
        self._names = layer_names(module)
        free_reshapes(module, inputs)
        self._roots, self.kept_whole = self._prunable()

    def to_macs(self, goal: float, before: Cost) -> None:
        """Prunes until at most the share ``goal`` of the MACs is left."""
        candidates = self._candidates()
        found: dict[tuple[int, ...], float] = {}

        def cost(kept: Kept) -> float:
            key = tuple(kept.values())
            if key not in found:
                macs = cost_of(self._pruned(candidates, kept), self._inputs).macs
                found[key] = macs / before.macs
            return found[key]

        least = cost(allocation.fewest(candidates))
        if least > goal:
            raise ConfigError(self._unreachable(candidates, goal, least))
        chosen = (
            allocation.uniform if self._config.allocation == "uniform" else allocation.over_all
        )
        kept = allocation.bisect(lambda share: chosen(candidates, share), cost, goal)
        self._finish(candidates, allocation.refill(candidates, kept, cost, goal))

    def to_latency(
        self, goal: float, measure: Measure, before: tuple[float, float] | None
    ) -> tuple[float, float]:
        """Prunes until at most the share ``goal`` of the latency is left, as measured."""
        candidates = self._candidates()
        table = measure_table(candidates, lambda kept: self._pruned(candidates, kept), measure)
        first = table.base_ms if before is None else before[0]
        kept, now = nearest_below(
            candidates, table, goal * first, lambda kept: measure(self._pruned(candidates, kept))
        )
        self._finish(candidates, kept)
        return first, now

    def _prunable(self) -> tuple[dict[str, bool], tuple[KeptWhole, ...]]:
        """By root of a prunable group whether its channels go by heads; and what stays."""
        roots: dict[str, bool] = {}
        refused = []
        told: set[str] = set()
        graph = ChannelGraph(self._module, self._inputs)
        for group in graph.groups():
            told.update(group.producers)
            reason = self._refusal(group, graph)
            if reason is None:
                roots[group.root] = group.heads is not None
            else:
                layers = tuple(self._names[layer] for layer in group.producers)
                refused.append(KeptWhole(layers, reason))
        refused += [
            KeptWhole((self._names[layer],), "its channels are outputs of the network")
            for layer in graph.layers()
            if layer not in told
        ]
        if not roots:
            reasons = "\n".join(f"  - {', '.join(item.layers)}: {item.reason}" for item in refused)
            raise UnsupportedError(
                f"No layer of {network_name(self._module)} can be pruned:\n{reasons}"
                if refused
                else "There is no convolution or linear layer to prune in "
                f"{network_name(self._module)}"
            )
        return roots, tuple(refused)

    def _refusal(self, group: ChannelGroup, graph: ChannelGraph) -> str | None:
        names = [self._names[layer] for layer in group.producers]
        kept = [name for name in names if self._config.keeps(name)]
        if kept:
            return f"keep names {', '.join(kept)}"
        step = group.step(self._config.round_to)
        if group.positions <= step:
            return (
                f"its {group.channels} channels cannot be fewer and a multiple of "
                f"{self._config.round_to} (round_to)"
            )
        if self._config.importance == "bn_scale" and self._scores(group, {}) is None:
            return "importance bn_scale finds no BatchNorm of its channels"
        fault = fault_of(self._module, self._inputs, group, self._config.seed)
        if fault is None:
            return None
        attention = [graph.whole_attention.get(layer) for layer in group.producers]
        return next((reason for reason in attention if reason is not None), fault)

    def _scores(self, group: ChannelGroup, gradients: Mapping[str, Tensor]) -> Tensor | None:
        return scores(group, self._config.importance, gradients, self._generator)

    def _candidates(self) -> dict[str, Candidate]:
        """The prunable groups of the module as it is now."""
        gradients = {}
        if self._config.importance == "taylor" and self._samples is not None:
            gradients = loss_gradients(self._module, self._samples, self._config.seed)
        result = {}
        for group in ChannelGraph(self._module, self._inputs).groups():
            # Where one head is left its channels are a group that has not been verified.
            verified = self._roots.get(group.root) == (group.heads is not None)
            found = self._scores(group, gradients) if verified else None
            if found is not None:
                step = group.step(self._config.round_to)
                result[group.root] = Candidate(group, found, step)
        return result

    def _pruned(self, candidates: Mapping[str, Candidate], kept: Kept) -> nn.Module:
        result = copy.deepcopy(self._module)
        remove_channels(result, _gone(candidates, kept))
        return result

    def _finish(self, candidates: Mapping[str, Candidate], kept: Kept) -> None:
        """Prunes the module itself, and checks what all groups together have done to it."""
        gone = _gone(candidates, kept)
        with_zeros = masked(self._module, gone)
        remove_channels(self._module, gone)
        fault = fault_between(self._module, with_zeros, self._inputs)
        if fault is not None:
            raise VerificationError(
                f"Pruning made {network_name(self._module)} wrong: {fault}. Each layer alone "
                "passed this check; please report it, and name layers in keep"
            )

    def _unreachable(self, candidates: Mapping[str, Candidate], goal: float, least: float) -> str:
        layers = ", ".join(
            f"{self._names[root]} ({item.group.channels} channels)"
            for root, item in candidates.items()
        )
        kept = [layer for item in self.kept_whole for layer in item.layers]
        return (
            f"macs_ratio {goal:.3g} cannot be reached: with {self._config.round_to} channels "
            f"(round_to) in every layer that can be pruned, {least:.3g} of the MACs are left; "
            f"less would leave these layers empty: {layers}. Raise macs_ratio"
            + (", lower round_to" if self._config.round_to > 1 else "")
            + (f", or let more layers be pruned (kept whole: {', '.join(kept)})" if kept else "")
        )


def _gone(
    candidates: Mapping[str, Candidate], kept: Kept
) -> dict[str, tuple[ChannelGroup, Sequence[int]]]:
    return {
        root: (candidates[root].group, candidates[root].removed(count))
        for root, count in kept.items()
    }


def _check(module: nn.Module, config: PruneConfig) -> None:
    """Refuses what could only be done by halves."""
    refuse_quantized(
        module,
        "pruned: its scales belong to channels that go. Prune the float network, and quantize it "
        "afterwards",
    )
    check_names(module, config.keep)


def _channels(module: nn.Module) -> dict[str, int]:
    names = layer_names(module)
    return {
        names[name]: int(getattr(item, "out_channels", 0) or getattr(item, "out_features", 0))
        for name, item in module.named_modules()
        if isinstance(item, PRODUCERS)
    }
