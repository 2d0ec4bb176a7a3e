"""Base of all passes: edits the main graph in place and keeps reasons."""

from __future__ import annotations

import abc

import onnx_ir as ir

from edgekit.core.stage import Note


class GraphPass(ir.passes.InPlacePass, abc.ABC):
    """A pass over the main graph of a model.

    A subclass implements `rewrite` and lists its numbered rules in its docstring. What
    looked like a match and was not rewritten leaves a reason in ``notes``.

    Attributes:
        notes: Reasons of the last call, in graph order.
    """

    def __init__(self) -> None:
        super().__init__()
        self.notes: list[Note] = []

    def call(self, model: ir.Model) -> ir.passes.PassResult:
        """Runs the pass; ``modified`` is False when no rule applied."""
        self.notes = []
        return ir.passes.PassResult(model, self.rewrite(model))

    @abc.abstractmethod
    def rewrite(self, model: ir.Model) -> bool:
        """Applies the rules; True when the graph was changed."""

    def keep(self, node: ir.Node, reason: str) -> None:
        """Records why ``node`` was left as it is."""
        self.notes.append(Note(where=node.name or node.op_type, text=reason))
