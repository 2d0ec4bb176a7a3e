"""Activations."""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812 - the field's spelling

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.registry import Tensor, operator


@operator("relu")
def relu(*, x: Tensor) -> Tensor:
    """``max(x, 0)``."""
    return torch.clamp(x, min=0)


@operator("relu6")
def relu6(*, x: Tensor) -> Tensor:
    """``min(max(x, 0), 6)``."""
    return torch.clamp(x, 0, 6)


@operator("sigmoid")
def sigmoid(*, x: Tensor) -> Tensor:
    """``1 / (1 + exp(-x))``."""
    return torch.sigmoid(x)


@operator("silu")
def silu(*, x: Tensor) -> Tensor:
    """``x * sigmoid(x)``."""
    return F.silu(x)


@operator("softplus")
def softplus(*, x: Tensor) -> Tensor:
    """``log(1 + exp(x))``."""
    return torch.logaddexp(x, torch.zeros((), dtype=x.dtype))


@operator("softsign")
def softsign(*, x: Tensor) -> Tensor:
    """``x / (1 + |x|)``."""
    return F.softsign(x)


@operator("softmax")
def softmax(*, x: Tensor, axis: int = -1) -> Tensor:
    """Along one axis."""
    return torch.softmax(x, axis)


@operator("gelu")
def gelu(*, x: Tensor, mode: str = "EXACT") -> Tensor:
    """Exact, or by tanh or sigmoid."""
    if mode == "EXACT":
        return F.gelu(x)
    if mode == "TANH_APPROXIMATION":
        return F.gelu(x, approximate="tanh")
    if mode == "SIGMOID_APPROXIMATION":
        return x * torch.sigmoid(1.702 * x)
    raise UnsupportedError(f"gelu in mode {mode!r} is not known")


@operator("clamped_relu")
def clamped_relu(*, x: Tensor, alpha: float, beta: float) -> Tensor:
    """``min(x if x >= 0 else alpha * x, beta)``."""
    return torch.clamp(torch.where(x >= 0, x, alpha * x), max=beta)


@operator("elu")
def elu(*, x: Tensor, alpha: float) -> Tensor:
    """``x if x > 0 else alpha * (exp(x) - 1)``."""
    return F.elu(x, alpha)


@operator("leaky_relu")
def leaky_relu(*, x: Tensor, alpha: float) -> Tensor:
    """``x if x >= 0 else alpha * x``."""
    return F.leaky_relu(x, alpha)


@operator("linear_activation")
def linear_activation(*, x: Tensor, alpha: float, beta: float) -> Tensor:
    """``alpha * x + beta``."""
    return alpha * x + beta


@operator("scaled_tanh")
def scaled_tanh(*, x: Tensor, alpha: float, beta: float) -> Tensor:
    """``alpha * tanh(beta * x)``."""
    return alpha * torch.tanh(beta * x)


@operator("sigmoid_hard")
def sigmoid_hard(*, x: Tensor, alpha: float, beta: float) -> Tensor:
    """``min(max(alpha * x + beta, 0), 1)``."""
    return torch.clamp(alpha * x + beta, 0, 1)


@operator("thresholded_relu")
def thresholded_relu(*, x: Tensor, alpha: float) -> Tensor:
    """``x if x >= alpha else 0``."""
    return torch.where(x >= alpha, x, torch.zeros((), dtype=x.dtype))


def _by_channel(vector: Tensor, x: Tensor) -> Tensor:
    return vector.reshape([1, -1, *[1] * (x.ndim - 2)])


@operator("prelu")
def prelu(*, x: Tensor, alpha: Tensor) -> Tensor:
    """``x if x >= 0 else alpha * x``, alpha by channel on axis 1."""
    return torch.where(x >= 0, x, _by_channel(alpha, x) * x)


@operator("softplus_parametric")
def softplus_parametric(*, x: Tensor, alpha: Tensor, beta: Tensor) -> Tensor:
    """``alpha * log(1 + exp(beta * x))``, both by channel on axis 1."""
    zero = torch.zeros((), dtype=x.dtype)
    return _by_channel(alpha, x) * torch.logaddexp(_by_channel(beta, x) * x, zero)
