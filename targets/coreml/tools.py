"""Whether coremltools is installed; imports nothing of it."""

from __future__ import annotations

import importlib.util
from importlib import metadata

from edgekit.errors import MissingToolError
from edgekit.targets.coreml import INFO


def coremltools_missing() -> str:
    """Why packages cannot be written here; empty where they can."""
    if importlib.util.find_spec("coremltools") is not None:
        return ""
    error = MissingToolError.for_extra("coremltools", INFO.extra, "write a Core ML package")
    return str(error)


def require_coremltools() -> None:
    """Checks that packages can be written.

    Raises:
        MissingToolError: If coremltools is not installed.
    """
    if importlib.util.find_spec("coremltools") is None:
        raise MissingToolError.for_extra("coremltools", INFO.extra, "write a Core ML package")


def coremltools_version() -> str:
    """Installed version; empty where there is none."""
    try:
        return metadata.version("coremltools")
    except metadata.PackageNotFoundError:
        return ""
