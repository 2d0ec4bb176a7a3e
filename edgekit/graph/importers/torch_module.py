"""Importer of ``file.py:factory`` and ``package.module:factory``."""

from __future__ import annotations

import importlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import onnx_ir as ir
import torch

from edgekit.errors import InputError, UsageError
from edgekit.graph.importers.request import ImportRequest
from edgekit.graph.importers.torch_export import export_module
from edgekit.graph.importers.weights import load_weights, refuse_nan

_SEED = 0
"""Weights that a factory draws at random are the same in every process."""


def import_torch_module(request: ImportRequest) -> ir.Model:
    """Builds a module by its factory, loads the weights and exports it.

    Raises:
        UsageError: If no input shapes are given.
        InputError: If the factory cannot be found or fails, or the weights do not fit.
        UnsupportedError: If torch cannot export the module.
    """
    module = load_torch_module(request.source, request.weights)
    if not request.inputs:
        raise UsageError(
            f"{request.source} does not say its input shapes; "
            "give them, for example: --input image:1x3x224x224"
        )
    return export_module(
        module, request.inputs, dynamic_batch=request.dynamic_batch, where=request.source
    )


def load_torch_module(source: str, weights: Path | None = None) -> torch.nn.Module:
    """Builds a module by its factory and loads its weights.

    Args:
        source: As `build_module` takes it.
        weights: State dict; None keeps what the factory made.

    Returns:
        The module in evaluation mode.

    Raises:
        InputError: If the factory cannot be found or fails, the weights do not fit, or they
            hold NaN.
    """
    module = build_module(source)
    if weights is not None:
        load_weights(module, weights)
    refuse_nan(module, str(weights or source))
    return module.eval()


def build_module(source: str) -> torch.nn.Module:
    """Calls the factory that ``source`` names, with seeded random numbers.

    Args:
        source: ``path/to/file.py:factory`` or ``package.module:factory``; the factory takes
            no arguments and may be a class.

    Raises:
        UsageError: If the text names no factory.
        InputError: If the file, module or factory is missing, fails, or gives no module.
    """
    place, _, name = source.rpartition(":")
    if not place or not name.isidentifier():
        raise UsageError(
            f"{source!r} names no factory; expected FILE.py:FACTORY or PACKAGE.MODULE:FACTORY"
        )
    with _seeded():
        namespace = _load_file(Path(place)) if place.endswith(".py") else _load_module(place)
        factory = getattr(namespace, name, None)
        if not callable(factory):
            raise InputError(_no_factory(namespace, name, place))
        return _call(factory, source)


@contextmanager
def _seeded() -> Iterator[None]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(_SEED)
        yield


def _no_factory(namespace: ModuleType, name: str, place: str) -> str:
    found = sorted(
        key
        for key, item in vars(namespace).items()
        if callable(item)
        and not key.startswith("_")
        and getattr(item, "__module__", None) == namespace.__name__
    )
    listed = ", ".join(found) if found else "none"
    return f"{place} has no factory {name!r}; callables defined there: {listed}"


def _call(factory: Callable[[], object], source: str) -> torch.nn.Module:
    try:
        module = factory()
    except Exception as error:
        raise InputError(f"Factory {source} fails: {_where(error)}") from error
    if not isinstance(module, torch.nn.Module):
        raise InputError(
            f"Factory {source} gives {type(module).__name__}; it must give a torch.nn.Module"
        )
    return module


def _load_file(path: Path) -> ModuleType:
    if not path.is_file():
        raise InputError(f"No Python file at {path}")
    name = f"_edgekit_model_{path.stem}"
    spec = importlib.util.spec_from_file_location(name, path)
    if spec is None or spec.loader is None:
        raise InputError(f"{path} cannot be imported as Python code")
    namespace = importlib.util.module_from_spec(spec)
    sys.modules[name] = namespace
    with _import_path(path.resolve().parent):
        try:
            spec.loader.exec_module(namespace)
        except Exception as error:
            del sys.modules[name]
            raise InputError(f"{path} fails while being imported: {_where(error)}") from error
    return namespace


def _load_module(name: str) -> ModuleType:
    with _import_path(Path.cwd()):
        try:
            return importlib.import_module(name)
        except ModuleNotFoundError as error:
            raise InputError(
                f"Module {name!r} cannot be imported: {error}. Install it, or give a file: "
                "FILE.py:FACTORY"
            ) from error
        except Exception as error:
            raise InputError(
                f"Module {name!r} fails while being imported: {_where(error)}"
            ) from error


@contextmanager
def _import_path(folder: Path) -> Iterator[None]:
    """Lets user code import what lies beside it."""
    entry = str(folder)
    sys.path.insert(0, entry)
    try:
        yield
    finally:
        sys.path.remove(entry)


def _where(error: Exception) -> str:
    """Kind, message, and the line of the innermost frame."""
    text = " ".join(str(error).split())
    # A call with wrong arguments fails in this file, which says nothing to the user.
    frames = [
        frame for frame in traceback.extract_tb(error.__traceback__) if frame.filename != __file__
    ]
    place = f" ({frames[-1].filename}:{frames[-1].lineno})" if frames else ""
    return f"{type(error).__name__}: {text}{place}" if text else f"{type(error).__name__}{place}"
