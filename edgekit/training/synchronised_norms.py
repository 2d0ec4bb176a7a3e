"""Batch normalisation where several processes share a batch."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm, _NormBase


@contextmanager
def synchronised_norms(model: nn.Module) -> Iterator[None]:
    """Inside, each BatchNorm normalises with the statistics of all processes' samples.

    Torch has such a layer (`torch.nn.SyncBatchNorm`) for GPUs alone. On CPUs nothing changes:
    each process normalises with its own samples, as it would with a batch that much smaller.

    Args:
        model: On its device; has its own layers again afterwards, with the trained weights.
    """
    places = [
        (parent, name, child)
        for parent in model.modules()
        for name, child in parent.named_children()
        if isinstance(child, _BatchNorm)
        and not isinstance(child, nn.SyncBatchNorm)
        and next(model.parameters()).is_cuda
    ]
    for parent, name, child in places:
        # Weights and statistics are shared with the layer that it stands for.
        made = nn.SyncBatchNorm.convert_sync_batchnorm(child)  # type: ignore[no-untyped-call]
        parent.add_module(name, made)
    try:
        yield
    finally:
        for parent, name, child in places:
            child.train(parent.get_submodule(name).training)
            parent.add_module(name, child)


def running_statistics(model: nn.Module) -> Iterator[Tensor]:
    """Means and variances that normalisations take over the batches they see."""
    for module in model.modules():
        if isinstance(module, _NormBase):
            yield from (
                item for item in (module.running_mean, module.running_var) if item is not None
            )
