"""The exception tree of edgekit.

Every error that a user can cause or repair is one of these; anything else that
escapes is a defect. The command line prints the message alone (no traceback
without ``--debug``) and ends with the class's exit code::

    EdgekitError                       1  internal error
    |-- UsageError                     2  wrong arguments
    |   |-- ConfigError                2  edgekit.toml or an option is wrong
    |   `-- InputError                 2  a file or data set is missing or damaged
    |-- UnsupportedError               3  the model cannot be converted
    |   `-- UnsupportedGraphError      3  ... because of the listed nodes
    |-- GateError                      4  a check that must hold does not
    |   `-- VerificationError          4  the artifact does not match its source
    |-- MissingToolError               5  a tool or an extra is not installed
    `-- InternalError                  1  a broken invariant inside edgekit

A message says what happened, where, why, and what to do next.
This module imports nothing from edgekit.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar


class EdgekitError(Exception):
    """Root of all errors raised on purpose by edgekit."""

    exit_code: ClassVar[int] = 1


class InternalError(EdgekitError):
    """An invariant of edgekit itself is broken; please report it."""


class UsageError(EdgekitError):
    """The arguments of a command or function are wrong."""

    exit_code = 2


class ConfigError(UsageError):
    """A configuration file or option has a wrong key or value."""


class InputError(UsageError):
    """An input (model file, weights, data set) is missing, damaged or of the wrong form."""


class UnsupportedError(EdgekitError):
    """The request is understood, but this model cannot be treated that way."""

    exit_code = 3


class GateError(EdgekitError):
    """A check that the result had to pass has failed."""

    exit_code = 4


class VerificationError(GateError):
    """A lowered artifact does not compute what its source graph computes."""


class MissingToolError(EdgekitError):
    """A tool, runtime or optional dependency is not installed."""

    exit_code = 5

    @classmethod
    def for_extra(cls, package: str, extra: str, needed_for: str) -> MissingToolError:
        """Builds the error for an optional dependency that an extra installs.

        Args:
            package: The import that failed, for example ``"ai_edge_litert"``.
            extra: The extra that brings it, for example ``"tflite"``.
            needed_for: What could not be done, for example ``"run a .tflite file"``.
        """
        return cls(
            f"{package} is not installed, which is needed to {needed_for}. "
            f"Install it with: pip install 'edgekit[{extra}]'"
        )


@dataclass(frozen=True, slots=True)
class UnsupportedNode:
    """One node that a target cannot lower, with the reason.

    Attributes:
        node: Name of the node in the canonical graph.
        op: Operator type with its domain, for example ``"Einsum"``.
        opset: Opset version of that domain in the graph.
        shapes: Input shapes, for example ``"[1, 3, 8, 8], ?"``.
        dtypes: Input data types, in the same order.
        reason: Why it is refused.
        accepted: What would be accepted instead; empty when nothing would.
    """

    node: str
    op: str
    opset: int
    shapes: str
    dtypes: str
    reason: str
    accepted: str = ""

    def __str__(self) -> str:
        """One line for a list of offending nodes."""
        line = (
            f"{self.op} (node {self.node!r}, opset {self.opset}, "
            f"shapes {self.shapes}, dtypes {self.dtypes}): {self.reason}"
        )
        return f"{line}; accepted: {self.accepted}" if self.accepted else line


class UnsupportedGraphError(UnsupportedError):
    """A graph holds nodes that the target cannot express; all of them are listed."""

    def __init__(self, target: str, nodes: Sequence[UnsupportedNode], remedy: str = "") -> None:
        """Stores the offending nodes and writes them into the message.

        Args:
            target: Name of the refusing target.
            nodes: All offending nodes, at least one.
            remedy: What the user can try next.
        """
        self.target = target
        self.nodes = tuple(nodes)
        plural = "node" if len(self.nodes) == 1 else "nodes"
        lines = [f"Target {target!r} cannot express {len(self.nodes)} {plural} of this model:"]
        lines += [f"  - {node}" for node in self.nodes]
        if remedy:
            lines.append(remedy)
        super().__init__("\n".join(lines))
