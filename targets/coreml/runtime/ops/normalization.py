"""Normalizations."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.targets.coreml.runtime.registry import Ints, Tensor, operator


def _along(vector: Tensor, x: Tensor, axis: int = 1) -> Tensor:
    shape = [1] * x.ndim
    shape[axis] = -1
    return vector.reshape(shape)


@operator("batch_norm")
def batch_norm(
    *,
    x: Tensor,
    mean: Tensor,
    variance: Tensor,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """``gamma * (x - mean) / sqrt(variance + epsilon) + beta`` by channel."""
    return F.batch_norm(x, mean, variance, gamma, beta, eps=epsilon)


@operator("instance_norm")
def instance_norm(
    *, x: Tensor, gamma: Tensor | None = None, beta: Tensor | None = None, epsilon: float = 1e-5
) -> Tensor:
    """Statistics of each sample's channel."""
    axes = list(range(2, x.ndim))
    mean = x.mean(axes, keepdim=True)
    variance = x.var(axes, correction=0, keepdim=True)
    result = (x - mean) / torch.sqrt(variance + epsilon)
    if gamma is not None:
        result = result * _along(gamma, x)
    return result if beta is None else result + _along(beta, x)


@operator("l2_norm")
def l2_norm(*, x: Tensor, epsilon: float = 1e-6) -> Tensor:
    """``x / sqrt(sum(x^2) + epsilon)`` over the last three axes."""
    total = (x * x).sum(list(range(max(0, x.ndim - 3), x.ndim)), keepdim=True)
    return x / torch.sqrt(total + epsilon)


@operator("layer_norm")
def layer_norm(
    *,
    x: Tensor,
    axes: Ints | None = None,
    gamma: Tensor | None = None,
    beta: Tensor | None = None,
    epsilon: float = 1e-5,
) -> Tensor:
    """Statistics over the given axes; scale and shift have their sizes."""
    chosen = sorted(axis % x.ndim for axis in (axes if axes is not None else range(x.ndim)))
    if chosen == list(range(x.ndim - len(chosen), x.ndim)):
        return F.layer_norm(x, x.shape[chosen[0] :], gamma, beta, epsilon)
    mean = x.mean(chosen, keepdim=True)
    variance = x.var(chosen, correction=0, keepdim=True)
    result = (x - mean) / torch.sqrt(variance + epsilon)
    shape = [x.shape[axis] if axis in chosen else 1 for axis in range(x.ndim)]
    if gamma is not None:
        result = result * gamma.reshape(shape)
    return result if beta is None else result + beta.reshape(shape)


@operator("local_response_norm")
def local_response_norm(
    *, x: Tensor, size: int, alpha: float = 1e-4, beta: float = 0.75, k: float = 1.0
) -> Tensor:
    """``x / (k + alpha / size * sum of squares of near channels) ^ beta``."""
    return F.local_response_norm(x, size, alpha, beta, k)
