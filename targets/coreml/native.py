"""Core ML itself, on a Mac.

Not verified on the machines that edgekit is tested on, which run Linux; tested up to the calls of
coremltools, which a stand-in answers.
"""

from __future__ import annotations

import platform
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.core.signature import ModelSignature
from edgekit.errors import UnsupportedError, UsageError
from edgekit.graph.reference import check_feeds
from edgekit.targets.coreml.interface_map import InterfaceMap
from edgekit.targets.coreml.package import read_package
from edgekit.targets.coreml.tools import coremltools_missing

type Array = Any


def native_missing() -> str:
    """Why Core ML cannot run models here; empty where it can."""
    if platform.system() != "Darwin":
        return f"Core ML runs on Apple's systems alone; this one is {platform.system()}."
    return coremltools_missing()


@dataclass(frozen=True, slots=True)
class ComputePlan:
    """Where Core ML would run a program's operators.

    Attributes:
        devices: Number of operators by the device that is preferred.
        elsewhere: Operators that are not preferred to run on the Neural Engine, with their type.
    """

    devices: Mapping[str, int]
    elsewhere: tuple[tuple[str, str], ...]


class NativeSession:
    """A package in Core ML; implements `edgekit.core.target.Session`."""

    def __init__(self, path: Path, model: Any) -> None:
        """Takes a loaded model.

        Args:
            path: The package.
            model: coremltools' ``MLModel`` of it.
        """
        self._path = path
        self._model = model
        self._map = InterfaceMap.of(read_package(path))

    @property
    def signature(self) -> ModelSignature:
        """Inputs and outputs in the canonical graph's terms."""
        return self._map.signature

    @property
    def runtime(self) -> str:
        """For example ``"Core ML (macOS 15.1, arm64)"``."""
        return f"Core ML (macOS {platform.mac_ver()[0]}, {platform.machine()})"

    def run(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Runs once; see `edgekit.core.target.Session.run`.

        Raises:
            InputError: If a feed is missing or has the wrong shape or dtype.
            UnsupportedError: If Core ML fails.
        """
        if self._model is None:
            raise UsageError(f"The session of {self._path.name} is closed; load it again.")
        check_feeds(self.signature, feeds)
        given = self._map.stored(feeds)
        if self._map.image:
            given[self._map.image] = _as_image(given[self._map.image])
        try:
            found = self._model.predict(given)
        except RuntimeError as error:
            raise UnsupportedError(f"Core ML cannot run {self._path.name}: {error}") from error
        return self._map.restored({name: np.asarray(value) for name, value in found.items()
                                   if not isinstance(value, dict | str)})  # fmt: skip

    def close(self) -> None:
        """Frees the model; the session cannot be used afterwards."""
        self._model = None


def _as_image(pixels: Array) -> Any:
    """The picture of pixels ``[1, channels, height, width]``, whole numbers of 0 to 255."""
    from PIL import Image

    whole = np.clip(np.round(pixels[0]), 0, 255).astype(np.uint8)
    if len(whole) == 1:
        return Image.fromarray(whole[0], "L")
    return Image.fromarray(whole.transpose(1, 2, 0), "RGB")


def open_native(path: Path, units: str = "ALL") -> NativeSession:
    """Loads a package into Core ML.

    Args:
        path: The package.
        units: Compute units, a name of coremltools' ``ComputeUnit``.

    Raises:
        InputError: If the package is damaged.
        UnsupportedError: If Core ML refuses it.
    """
    from edgekit.targets.coreml.toolchain import coremltools, quietly

    read_package(path)
    try:
        with quietly():
            model = coremltools.models.MLModel(
                str(path), compute_units=getattr(coremltools.ComputeUnit, units)
            )
    except Exception as error:
        # coremltools passes on whatever Core ML raises.
        raise UnsupportedError(f"Core ML cannot load {path}: {error}") from error
    return NativeSession(path, model)


def compute_plan(path: Path) -> ComputePlan:
    """Asks Core ML where it would run each operator.

    Raises:
        UnsupportedError: If Core ML cannot tell, for example before macOS 14.4.
    """
    from edgekit.targets.coreml.toolchain import coremltools, quietly

    try:
        with quietly():
            compiled = coremltools.models.utils.compile_model(str(path))
            plan = coremltools.models.compute_plan.MLComputePlan.load_from_path(str(compiled))
            program = plan.model_structure.program
            operations = program.functions["main"].block.operations
            usages = [(op, plan.get_compute_device_usage_for_mlprogram_operation(op))
                      for op in operations]  # fmt: skip
    except Exception as error:
        raise UnsupportedError(f"Core ML cannot plan {path}: {error}") from error
    devices: Counter[str] = Counter()
    elsewhere = []
    for operation, usage in usages:
        if usage is None:
            continue
        device = type(usage.preferred_compute_device).__name__
        devices[device] += 1
        if "NeuralEngine" not in device:
            name = operation.outputs[0].name if operation.outputs else ""
            elsewhere.append((name, operation.operator_name))
    return ComputePlan(dict(devices), tuple(elsewhere))
