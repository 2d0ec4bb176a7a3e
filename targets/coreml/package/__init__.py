"""Reads saved Core ML packages without coremltools or its native libraries."""

from __future__ import annotations

from edgekit.targets.coreml.package.mlpackage import Package, read_package

__all__ = ["Package", "read_package"]
