"""Batch normalisation put back into an imported graph for the time of its training.

A canonical graph has no BatchNorm: each is folded into its convolution. That is how it runs
fastest, but not how it trains best, and a pruned network needs the statistics of what its
fewer channels now sum up. So each convolution gets a BatchNorm that changes nothing at first:
scale and shift are the standard deviation and mean of the convolution's own output. Its
statistics can then be estimated anew, or it can be trained, and in the end it is folded again.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field

import torch
from torch import Tensor, fx, nn

from edgekit.graph.torch_twin.twin import VALUE, TorchTwin

CONVOLUTIONS = (
    nn.Conv1d, nn.Conv2d, nn.Conv3d, nn.ConvTranspose1d, nn.ConvTranspose2d, nn.ConvTranspose3d,
)  # fmt: skip
_SUFFIX = "_restored_norm"

type RunBatches = Callable[[TorchTwin], object]
"""Runs a twin once over some samples, without gradients; what it gives is dropped."""


class RestoredNorm(nn.BatchNorm1d):
    """A BatchNorm over the second axis of any rank, which stands for one that was folded."""

    def _check_input_dim(self, input: Tensor) -> None:
        """Any rank from 2 on has channels."""


def restore_norms(twin: TorchTwin, run_batches: RunBatches, *, outputs: bool = True) -> int:
    """Puts a BatchNorm behind every convolution; the twin computes what it did.

    Left as they are: convolutions without a bias, into which nothing could be folded, those
    that the graph calls more than once, and those whose weights or bias others use as well.

    Args:
        twin: Of a float graph; changed in place and left in evaluation mode.
        run_batches: Over samples from which the statistics are taken.
        outputs: Also behind convolutions that give an output of the network.

    Returns:
        How many were put in.
    """
    nodes = _convolutions(twin, outputs)
    sums = {node.target: _Sums() for node in nodes}
    with _watched(twin, sums):
        twin.eval()
        run_batches(twin)
    for node in nodes:
        found = sums[node.target]
        if found.count:
            _insert(twin.graph_module, node, found)
    twin.graph_module.recompile()
    return len(tuple(_norms(twin)))


def estimate_norms(twin: TorchTwin, run_batches: RunBatches) -> None:
    """Takes the statistics of all restored norms anew, as after a pruning.

    Args:
        twin: Changed in place and left in evaluation mode.
        run_batches: Over at least one batch of several samples.
    """
    norms = [norm for _, norm in _norms(twin)]
    twin.eval()
    for norm in norms:
        norm.reset_running_stats()
        norm.momentum = None  # the mean over all batches
        norm.train()
    run_batches(twin)
    for norm in norms:
        norm.momentum = 0.1
        norm.eval()


@torch.no_grad()
def fold_norms(twin: TorchTwin) -> None:
    """Folds all restored norms into their convolutions, so that the twin fits its graph again.

    Args:
        twin: Changed in place; computes in evaluation mode what it did.
    """
    module = twin.graph_module
    for node, norm in tuple(_norms(twin)):
        source = node.args[0]
        assert isinstance(source, fx.Node)
        convolution = module.get_submodule(str(source.target))
        assert isinstance(convolution, CONVOLUTIONS)
        _fold(convolution, norm)
        node.replace_all_uses_with(source)
        source.meta[VALUE] = node.meta.get(VALUE, ())
        module.graph.erase_node(node)
        module.delete_submodule(str(node.target))
    module.recompile()


def norm_behind(twin: TorchTwin, layer: str) -> nn.Module:
    """The restored norm behind a layer of a twin; the layer itself where there is none."""
    module = twin.graph_module
    found = dict(module.named_children()).get(_norm_name(layer))
    return module.get_submodule(layer) if found is None else found


def _norm_name(layer: str) -> str:
    return f"{layer.replace('.', '_')}{_SUFFIX}"


@dataclass(slots=True)
class _Sums:
    """Adds up one convolution's outputs by channel."""

    count: int = 0
    total: Tensor = field(default_factory=lambda: torch.zeros(()))
    squares: Tensor = field(default_factory=lambda: torch.zeros(()))

    def add(self, output: Tensor) -> None:
        wide = output.detach().double().transpose(0, 1).flatten(1)
        self.count += wide.shape[1]
        self.total = self.total + wide.sum(dim=1)
        self.squares = self.squares + wide.square().sum(dim=1)

    def mean(self) -> Tensor:
        return self.total / self.count

    def variance(self) -> Tensor:
        return (self.squares / self.count - self.mean().square()).clamp(min=0)


@contextmanager
def _watched(twin: TorchTwin, sums: dict[fx.node.Target, _Sums]) -> Iterator[None]:
    def watch(name: str) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        return lambda _, __, output: sums[name].add(output)

    hooks = [
        twin.graph_module.get_submodule(str(name)).register_forward_hook(watch(str(name)))
        for name in sums
    ]
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _convolutions(twin: TorchTwin, outputs: bool) -> list[fx.Node]:
    graph = twin.graph_module.graph
    calls = Counter(node.target for node in graph.nodes if node.op == "call_module")
    users = Counter(
        id(parameter)
        for item in twin.graph_module.modules()
        for parameter in item.parameters(recurse=False)
    )
    read = {str(node.target) for node in graph.nodes if node.op == "get_attr"}
    return [
        node
        for node in graph.nodes
        if node.op == "call_module"
        and calls[node.target] == 1
        and isinstance(item := twin.graph_module.get_submodule(str(node.target)), CONVOLUTIONS)
        and item.bias is not None
        and all(
            users[id(parameter)] == 1 and f"{node.target}.{name}" not in read
            for name, parameter in item.named_parameters(recurse=False)
        )
        and (outputs or not any(user.op == "output" for user in node.users))
    ]


def _insert(module: fx.GraphModule, node: fx.Node, found: _Sums) -> None:
    convolution = module.get_submodule(str(node.target))
    weight = convolution.weight
    assert isinstance(weight, Tensor)
    norm = RestoredNorm(len(found.total)).to(weight).eval()
    with torch.no_grad():
        norm.running_mean = found.mean().to(weight)
        norm.running_var = found.variance().to(weight)
        norm.bias.copy_(found.mean())
        norm.weight.copy_((found.variance() + norm.eps).sqrt())
    name = _norm_name(str(node.target))
    module.add_submodule(name, norm)
    with module.graph.inserting_after(node):
        new = module.graph.call_module(name, (node,))
    node.replace_all_uses_with(new, delete_user_cb=lambda user: user is not new)
    new.meta[VALUE] = node.meta.pop(VALUE, ())


def _norms(twin: TorchTwin) -> Iterable[tuple[fx.Node, RestoredNorm]]:
    for node in twin.graph_module.graph.nodes:
        if node.op == "call_module":
            item = twin.graph_module.get_submodule(str(node.target))
            if isinstance(item, RestoredNorm):
                yield node, item


def _fold(convolution: nn.Module, norm: RestoredNorm) -> None:
    weight, bias = convolution.get_parameter("weight"), convolution.get_parameter("bias")
    mean, variance = norm.running_mean, norm.running_var
    assert mean is not None
    assert variance is not None
    factor = norm.weight / torch.sqrt(variance + norm.eps)
    if bool(getattr(convolution, "transposed", False)):
        # [C_in, C_out / groups, ...]: outputs of a group belong to its own inputs.
        groups = int(getattr(convolution, "groups", 1))
        by_group = factor.reshape(groups, 1, -1)
        rows = weight.reshape(groups, weight.shape[0] // groups, weight.shape[1], -1)
        weight.copy_((rows * by_group[..., None]).reshape(weight.shape))
    else:
        weight.mul_(factor.reshape(-1, *[1] * (weight.ndim - 1)))
    bias.copy_((bias - mean) * factor + norm.bias)
