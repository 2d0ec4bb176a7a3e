"""Opens data sets by name."""

from __future__ import annotations

import difflib
from collections.abc import Callable
from importlib import import_module
from pathlib import Path
from typing import Protocol, cast

from edgekit.data.contract import Batch, Dataset, DataSpec
from edgekit.errors import ConfigError

__all__ = ["Batch", "DataSpec", "Dataset", "data_files", "known_sets", "open_dataset"]

_MODULES = {
    "digits": "edgekit.data.digits",
    "fashion-mnist": "edgekit.data.idx",
    "mnist": "edgekit.data.idx",
    "cifar10": "edgekit.data.cifar10",
    "omniglot": "edgekit.data.omniglot",
    "spoken-digits": "edgekit.data.spoken_digits",
    "folder": "edgekit.data.image_folder",
    "npz": "edgekit.data.npz",
}
"""Module of each kind of data set; each has `open_set` and `set_files`. Modules are imported
when asked for, so that naming a data set loads neither Pillow nor scikit-learn."""

_WITH_PATH = ("folder", "npz")


class _SetModule(Protocol):
    open_set: Callable[[DataSpec], Dataset]
    set_files: Callable[[DataSpec], tuple[Path, ...]]


def known_sets() -> tuple[str, ...]:
    """The forms that `DataSpec.set` takes, for messages and help."""
    return (*(name for name in _MODULES if name not in _WITH_PATH), "folder:PATH", "npz:PATH")


def open_dataset(spec: DataSpec) -> Dataset:
    """Opens the data set that ``spec`` names.

    Raises:
        ConfigError: If no data set is called that.
        InputError: If its files are missing or damaged; the message names the folder that
            was looked in.
    """
    return _module_of(spec.set).open_set(spec)


def data_files(spec: DataSpec) -> tuple[Path, ...]:
    """Files and folders that the data set is read from, without reading them.

    Raises:
        ConfigError: If no data set is called that.
        InputError: If they are missing.
    """
    return _module_of(spec.set).set_files(spec)


def _module_of(name: str) -> _SetModule:
    kind, colon, path = name.partition(":")
    if kind in _WITH_PATH:
        if not (colon and path):
            raise ConfigError(f"Data set {name!r} names no place; write {kind}:PATH")
    elif name.endswith(".npz"):
        kind = "npz"
    elif name not in _MODULES:
        close = difflib.get_close_matches(name, _MODULES, n=1, cutoff=0.5)
        hint = f" Did you mean {close[0]!r}?" if close else ""
        raise ConfigError(f"There is no data set {name!r}.{hint} Known: {', '.join(known_sets())}")
    return cast(_SetModule, import_module(_MODULES[kind]))
