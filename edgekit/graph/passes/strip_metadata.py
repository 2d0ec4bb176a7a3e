"""Removal of everything that a graph carries besides its computation."""

from __future__ import annotations

import onnx_ir as ir

from edgekit.core.metadata import METADATA_KEY
from edgekit.graph.passes.graph_pass import GraphPass

PRODUCER = "edgekit"


class StripMetadata(GraphPass):
    """Removes documentation strings, stack traces and other exporter properties.

    1. ``doc_string`` and ``metadata_props`` of graph, nodes and values are cleared: they
       hold source lines and paths of the machine that exported the model, so equal models
       would not give equal files.
    2. Of the model's own properties only edgekit's metadata stays.
    3. The producer becomes edgekit without a version; the version stands in the provenance.
    """

    def rewrite(self, model: ir.Model) -> bool:
        """See the class docstring."""
        kept = {key: text for key, text in model.metadata_props.items() if key == METADATA_KEY}
        model.metadata_props.clear()
        model.metadata_props.update(kept)
        model.doc_string = None
        model.producer_name, model.producer_version = PRODUCER, None
        model.domain, model.model_version = None, None
        for graph in model.graphs():
            graph.doc_string = None
            graph.metadata_props.clear()
            for value in (*graph.inputs, *graph.initializers.values()):
                _clear(value)
            for node in graph:
                node.doc_string = None
                node.metadata_props.clear()
                for output in node.outputs:
                    _clear(output)
        # Nothing that is computed has changed, so there is nothing to verify.
        return False


def _clear(value: ir.Value) -> None:
    value.doc_string = None
    value.metadata_props.clear()
