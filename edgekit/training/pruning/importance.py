"""How much each channel of a group matters.

With ``w_c`` the weights of all layers of the group that read or write channel ``c`` (a filter
of a producer, an input slice of a consumer, a BatchNorm scale), each layer one term:

- magnitude: mean over the layers of ``sum(w_c ** 2)`` (Li et al., Pruning Filters for
  Efficient ConvNets, ICLR 2017; summed over the group as in DepGraph, CVPR 2023);
- taylor: mean over the layers of ``|sum(w_c * dL/dw_c)|``, the first-order change of the loss
  when they become 0 (Molchanov et al., Importance Estimation for Neural Network Pruning,
  CVPR 2019, equation 8, without the square);
- bn_scale: mean of ``|gamma_c|`` over the BatchNorms of the group (Liu et al., Network
  Slimming, ICCV 2017);
- random: uniform in [0, 1).

The scores of a group are divided by their mean, so that groups can be compared.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional

from edgekit.errors import ConfigError, InputError
from edgekit.training.pruning.channel_graph import (
    BATCH_NORMS,
    CHANNEL_NORMS,
    PRODUCERS,
    ChannelGroup,
    Member,
)
from edgekit.training.pruning.config import Importance
from edgekit.training.restored_norms import RestoredNorm
from edgekit.training.samples import Samples

_TAYLOR_SAMPLES = 512
_TAYLOR_BATCH = 64


def scores(
    group: ChannelGroup,
    kind: Importance,
    gradients: Mapping[str, Tensor],
    generator: torch.Generator,
) -> Tensor | None:
    """One number a position of the group, ``float64[positions]``; larger matters more.

    Args:
        group: Read from the module as it is now.
        kind: Formula of the module's docstring.
        gradients: Of the loss by name of the parameter; only read for taylor.
        generator: Only used for random.

    Returns:
        None where the group holds nothing that the formula reads, as a BatchNorm.
    """
    if kind == "random":
        return torch.rand(group.positions, generator=generator, dtype=torch.float64)
    terms = [term for member in group.members for term in _terms(member, kind, gradients)]
    if not terms:
        return None
    total = torch.zeros(group.channels, dtype=torch.float64)
    for member, values in terms:
        total.index_add_(0, torch.tensor(member.roots), values)
    total /= len(terms)
    by_position = group.by_position(total)
    mean = by_position.mean()
    return by_position / mean if float(mean) > 0 else by_position


def loss_gradients(module: nn.Module, samples: Samples, seed: int) -> dict[str, Tensor]:
    """Mean gradient of the cross-entropy by name of the parameter.

    Args:
        module: Gives class scores ``[N, classes]``; run on a copy in evaluation mode.
        samples: Of which at most 512 are drawn.
        seed: Decides which.

    Raises:
        InputError: If the module does not classify.
    """
    module = copy.deepcopy(module).eval()
    for item in module.parameters():
        item.requires_grad_(item.is_floating_point())
    generator = torch.Generator().manual_seed(seed)
    order = torch.randperm(len(samples), generator=generator)[:_TAYLOR_SAMPLES].tolist()
    if not order:
        raise InputError("Importance taylor needs samples, but the data set is empty")
    for inputs, labels in samples.batches(order, _TAYLOR_BATCH):
        with torch.enable_grad():
            found = module(inputs)
            if not isinstance(found, Tensor) or found.ndim != 2:
                raise InputError(
                    "Importance taylor needs a model that gives one tensor [N, classes]; use "
                    "importance magnitude for another"
                )
            loss = functional.cross_entropy(found, labels, reduction="sum") / len(order)
        torch.autograd.backward(loss)
    return {
        name: item.grad.detach()
        for name, item in module.named_parameters()
        if item.grad is not None
    }


def need_samples(kind: Importance, samples: Samples | None) -> None:
    """Refuses taylor without samples.

    Raises:
        ConfigError: With the remedy.
    """
    if kind == "taylor" and samples is None:
        raise ConfigError(
            "importance taylor computes gradients of the loss, which needs samples; pass some, "
            "or use importance magnitude"
        )


def _terms(
    member: Member, kind: Importance, gradients: Mapping[str, Tensor]
) -> Iterator[tuple[Member, Tensor]]:
    module = member.module
    if kind == "bn_scale":
        if isinstance(module, BATCH_NORMS) and module.affine:
            yield member, module.weight.detach().double().abs()[list(member.indices)]
        return
    if not isinstance(module, (*PRODUCERS, *BATCH_NORMS, *CHANNEL_NORMS)):
        return
    if isinstance(module, RestoredNorm):
        return  # its scale stands in the weights before it already
    weight: Tensor | None = module.weight
    if weight is None:
        return
    product = weight.detach().double()
    if kind == "taylor":
        gradient = gradients.get(f"{member.layer}.weight")
        if gradient is None:
            return
        product = product * gradient.double()
    else:
        product = product * product
    by_channel = _per_channel(member, product).sum(dim=1)
    yield member, (by_channel.abs() if kind == "taylor" else by_channel)[list(member.indices)]


def _per_channel(member: Member, array: Tensor) -> Tensor:
    """A row for each channel of the layer on the member's side."""
    module = member.module
    if array.ndim == 1:
        return array[:, None]
    transposed = bool(getattr(module, "transposed", False))
    groups = int(getattr(module, "groups", 1))
    # The first axis of weights counts outputs (of a transposed convolution: inputs); the
    # second the others within a group.
    if member.outputs != transposed:
        return array.flatten(1)
    if groups == 1:
        return array.transpose(0, 1).flatten(1)
    parts = array.reshape(groups, -1, *array.shape[1:]).transpose(1, 2)
    return parts.flatten(2).flatten(0, 1)
