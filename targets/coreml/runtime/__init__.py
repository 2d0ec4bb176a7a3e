"""The edgekit MIL runtime: executes a saved Core ML package on the CPU, on any system.

It reads the program that was saved, with what coremltools' passes made of it, and computes every
operator as its definition in coremltools says. It is not the Neural Engine, and says so in every
report.
"""

from __future__ import annotations

from edgekit.targets.coreml.runtime.mil_model import MilModel, State
from edgekit.targets.coreml.runtime.naming import RUNTIME

__all__ = ["RUNTIME", "MilModel", "State"]
