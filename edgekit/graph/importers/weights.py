"""State dicts from files, loaded strictly into a module."""

from __future__ import annotations

import pickle
from pathlib import Path

import torch

from edgekit.errors import InputError, UsageError

TORCH_SUFFIXES = (".pth", ".pt", ".th", ".bin", ".ckpt")
_NESTED_UNDER = ("state_dict", "model_state_dict", "model")
_PARALLEL_PREFIX = "module."
_OPTIONAL_SUFFIX = "num_batches_tracked"
"""Counter of BatchNorm that inference never reads; old checkpoints lack it."""
_MAX_LISTED = 8


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """Reads tensors by name without running code from the file.

    A dict nested under ``state_dict``, ``model_state_dict`` or ``model`` is found, and the
    prefix ``module.`` of data-parallel training is taken off.

    Raises:
        InputError: If the file is missing, damaged, needs unpickling of objects, or holds no
            tensors.
        UsageError: If the suffix is not one of a weights file.
    """
    if not path.is_file():
        raise InputError(f"No weights file at {path}")
    if path.suffix == ".safetensors":
        state: object = _read_safetensors(path)
    elif path.suffix in TORCH_SUFFIXES:
        state = _read_torch(path)
    else:
        raise UsageError(
            f"Weights {path} have the unknown suffix {path.suffix!r}; "
            f"accepted: .safetensors, {', '.join(TORCH_SUFFIXES)}"
        )
    return _tensors(state, path)


def load_weights(module: torch.nn.Module, path: Path) -> None:
    """Loads a weights file into ``module``; every name and shape must agree.

    Raises:
        InputError: Listing missing, unexpected, misshapen tensors, or those with NaN.
    """
    state = read_state_dict(path)
    expected = module.state_dict()
    missing = [
        name for name in expected if name not in state and not name.endswith(_OPTIONAL_SUFFIX)
    ]
    unexpected = [name for name in state if name not in expected]
    misshapen = [
        f"{name} (file {_shape(state[name])}, model {_shape(tensor)})"
        for name, tensor in expected.items()
        if name in state and state[name].shape != tensor.shape
    ]
    problems = [
        f"{what}: {_listed(names)}"
        for what, names in (
            ("missing in the file", missing),
            ("unknown to the model", unexpected),
            ("of another shape", misshapen),
        )
        if names
    ]
    if problems:
        raise InputError(
            f"Weights {path} do not fit {type(module).__name__}: {'; '.join(problems)}"
        )
    module.load_state_dict(state, strict=False)


def refuse_nan(module: torch.nn.Module, where: str) -> None:
    """Refuses a module whose parameters or buffers hold NaN or infinity.

    Raises:
        InputError: Naming the tensors.
    """
    broken = [
        name
        for name, tensor in module.state_dict().items()
        if isinstance(tensor, torch.Tensor)
        and tensor.is_floating_point()
        and not bool(torch.isfinite(tensor).all())
    ]
    if broken:
        raise InputError(
            f"{where} holds NaN or infinite weights in {_listed(broken)}; "
            "the model did not train or was damaged, and cannot be converted"
        )


def _read_safetensors(path: Path) -> dict[str, torch.Tensor]:
    import safetensors
    import safetensors.torch

    try:
        tensors: dict[str, torch.Tensor] = safetensors.torch.load_file(path)
    except safetensors.SafetensorError as error:
        raise InputError(f"{path} is no safetensors file or is cut off: {error}") from error
    return tensors


def _read_torch(path: Path) -> object:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        if "Weights only load failed" in str(error):
            raise InputError(
                f"{path} holds pickled objects besides tensors, which edgekit does not run. "
                "Save the tensors alone: torch.save(module.state_dict(), path)"
            ) from error
        raise InputError(f"{path} is no torch weights file or is damaged: {error}") from error
    except Exception as error:
        # torch.load raises many kinds on damaged archives.
        raise InputError(
            f"{path} is no torch weights file or is damaged: {_first_line(error)}"
        ) from error


def _tensors(state: object, path: Path) -> dict[str, torch.Tensor]:
    for key in _NESTED_UNDER:
        if isinstance(state, dict) and isinstance(state.get(key), dict):
            state = state[key]
            break
    if not isinstance(state, dict) or not state:
        raise InputError(f"{path} holds no state dict but {type(state).__name__}")
    strangers = [str(name) for name, item in state.items() if not isinstance(item, torch.Tensor)]
    if strangers:
        raise InputError(
            f"{path} holds entries that are no tensors: {_listed(strangers)}. "
            "Save the tensors alone: torch.save(module.state_dict(), path)"
        )
    if all(str(name).startswith(_PARALLEL_PREFIX) for name in state):
        return {str(name)[len(_PARALLEL_PREFIX) :]: item for name, item in state.items()}
    return {str(name): item for name, item in state.items()}


def _shape(tensor: torch.Tensor) -> str:
    return "x".join(map(str, tensor.shape)) or "scalar"


def _listed(names: list[str]) -> str:
    more = f" and {len(names) - _MAX_LISTED} more" if len(names) > _MAX_LISTED else ""
    return ", ".join(names[:_MAX_LISTED]) + more


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).split("\n", 1)[0]
