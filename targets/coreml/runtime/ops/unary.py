"""Element by element functions of one tensor."""

from __future__ import annotations

import torch

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.runtime.registry import Tensor, operator

_FUNCTIONS = {
    "abs": torch.abs, "acos": torch.acos, "asin": torch.asin, "atan": torch.atan,
    "atanh": torch.atanh, "ceil": torch.ceil, "cos": torch.cos, "cosh": torch.cosh,
    "erf": torch.erf, "exp": torch.exp, "exp2": torch.exp2, "floor": torch.floor,
    "logical_not": torch.logical_not, "round": torch.round, "sign": torch.sign,
    "sin": torch.sin, "sinh": torch.sinh, "sqrt": torch.sqrt, "square": torch.square,
    "tan": torch.tan, "tanh": torch.tanh,
}  # fmt: skip


def _register(name: str) -> None:
    function = _FUNCTIONS[name]

    def run(*, x: Tensor) -> Tensor:
        return function(x)

    run.__name__ = name
    operator(name)(run)


for _name in _FUNCTIONS:
    _register(_name)


@operator("identity")
def identity(*, x: Tensor) -> Tensor:
    """The same value."""
    return x


@operator("log")
def log(*, x: Tensor, epsilon: float = 1e-45) -> Tensor:
    """``log(x + epsilon)``."""
    return torch.log(x if epsilon == 0 else x + epsilon)


@operator("rsqrt")
def rsqrt(*, x: Tensor, epsilon: float = 1e-12) -> Tensor:
    """``1 / sqrt(x + epsilon)``."""
    return torch.rsqrt(x + epsilon)


@operator("inverse")
def inverse(*, x: Tensor, epsilon: float = 1e-4) -> Tensor:
    """``1 / (x + epsilon)``."""
    return 1 / (x + epsilon)


@operator("clip")
def clip(*, x: Tensor, alpha: float, beta: float) -> Tensor:
    """Between two limits."""
    return torch.clamp(x, alpha, beta)


@operator("threshold")
def threshold(*, x: Tensor, alpha: float) -> Tensor:
    """``max(x, alpha)``."""
    return torch.clamp(x, min=alpha)


_WHOLE = {"int8", "uint8", "int16", "uint16", "int32"}
_LIMITS = {"int8": (-128, 127), "uint8": (0, 255), "int16": (-32768, 32767), "uint16": (0, 65535)}


@operator("cast")
def cast(*, x: Tensor, dtype: str) -> Tensor:
    """Another element type; fractions are cut off, a number other than 0 is true."""
    if dtype == "bool":
        return x != 0
    if dtype in {"fp16", "fp32"}:
        return x.to(torch.float32)
    if dtype in _WHOLE:
        return x.to(torch.int32)
    raise UnsupportedError(f"a cast to {dtype} is not known")
