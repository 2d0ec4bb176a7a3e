"""Runs packages in the edgekit MIL runtime."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from edgekit.core.metadata import ModelMetadata
from edgekit.core.signature import ModelSignature
from edgekit.core.target import RuntimeConfig
from edgekit.errors import UsageError
from edgekit.graph.reference import check_feeds
from edgekit.targets.coreml.embedded import EmbeddedMetadata
from edgekit.targets.coreml.interface_map import InterfaceMap
from edgekit.targets.coreml.runtime import RUNTIME, MilModel

type Array = Any
type Observer = Callable[[str, Array], Array | None]


class MilSession:
    """A package on the CPU; implements `edgekit.core.target.Session`. Not thread-safe."""

    def __init__(self, path: Path, config: RuntimeConfig) -> None:
        """Loads a package.

        Raises:
            InputError: If it is missing or damaged.
            UnsupportedError: If it holds an operator that the runtime does not know.
        """
        self._path = path
        self._threads = config.threads
        self._model: MilModel | None = MilModel(path)
        self._map = InterfaceMap.of(self._model.package)

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs in the canonical graph's terms."""
        return self._map.signature

    @property
    def runtime(self) -> str:
        """Which runtime; that it is not Apple's stands in its name."""
        return RUNTIME

    @property
    def metadata(self) -> ModelMetadata:
        """What edgekit wrote into the package; defaults where it wrote nothing."""
        embedded: EmbeddedMetadata | None = self._map.embedded
        return embedded.metadata if embedded is not None else ModelMetadata()

    def run(
        self, feeds: Mapping[str, Array], observer: Observer | None = None
    ) -> dict[str, Array]:
        """Runs once; see `edgekit.core.target.Session.run`.

        Args:
            feeds: By input name.
            observer: See `MilModel.predict`.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
        """
        model = self._open()
        check_feeds(self.signature, feeds)
        with _threads(self._threads):
            found = model.predict(self._map.stored(feeds), observer=observer)
        return self._map.restored(found)

    def marks(self, feeds: Mapping[str, Array], mark: Callable[[str], None]) -> None:
        """Runs once and tells how far it is; see ``reached`` of `MilModel.predict`.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
        """
        model = self._open()
        check_feeds(self.signature, feeds)
        with _threads(self._threads):
            model.predict(self._map.stored(feeds), reached=mark)

    def close(self) -> None:
        """Frees the model; the session cannot be used afterwards."""
        self._model = None

    def _open(self) -> MilModel:
        if self._model is None:
            raise UsageError(f"The session of {self._path.name} is closed; load it again.")
        return self._model


class _threads:  # noqa: N801 - used like a function
    """Gives torch a number of threads for a while."""

    def __init__(self, count: int) -> None:
        self._count = count
        self._before = count

    def __enter__(self) -> None:
        import torch

        self._before = torch.get_num_threads()
        if self._before != self._count:
            torch.set_num_threads(self._count)

    def __exit__(self, *exception: object) -> None:
        import torch

        if self._before != self._count:
            torch.set_num_threads(self._before)
