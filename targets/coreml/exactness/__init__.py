"""Compares a package with the QDQ graph it was lowered from."""

from __future__ import annotations

from edgekit.targets.coreml.exactness.compare import compare_with_graph

__all__ = ["compare_with_graph"]
