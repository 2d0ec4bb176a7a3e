"""Lowers a whole canonical ONNX graph to a MIL program."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import onnx_ir as ir

from edgekit.core.target import SupportReport
from edgekit.errors import UnsupportedGraphError, UnsupportedNode
from edgekit.graph.io import read_metadata
from edgekit.graph.node_view import Refusal
from edgekit.targets.coreml.lowering import ops  # noqa: F401 - registers the lowerings
from edgekit.targets.coreml.lowering.classifier import Classifier, plan_classifier
from edgekit.targets.coreml.lowering.emitter import Emitter
from edgekit.targets.coreml.lowering.interface import plan_inputs, read_inputs, write_outputs
from edgekit.targets.coreml.lowering.options import LoweringOptions
from edgekit.targets.coreml.lowering.preparation import prepare
from edgekit.targets.coreml.lowering.walk import lower_all, unsupported
from edgekit.targets.coreml.toolchain import coremltools as ct
from edgekit.targets.coreml.toolchain import quietly

_REMEDY = (
    "Replace these operators in the model, or raise the deployment target where the reason says "
    "so (--deployment-target)."
)


@dataclass(frozen=True, slots=True)
class LoweredProgram:
    """A MIL program in memory.

    Attributes:
        program: coremltools' program, before its passes.
        inputs: coremltools' descriptions of the inputs.
        features: Name of the feature of each ONNX input and output.
        image: Name of the input that takes images; empty where none does.
        classifier: Class labels and where their probabilities are; None for other models.
        origins: Name of the variable, name of the ONNX value and role of each quantized one.
        notes: Reasons for the report.
    """

    program: Any
    inputs: tuple[Any, ...]
    features: Mapping[str, str]
    image: str
    classifier: Classifier | None
    origins: tuple[tuple[str, str, str], ...]
    notes: tuple[str, ...]


def lower_graph(model: ir.Model, options: LoweringOptions) -> LoweredProgram:
    """Lowers a graph.

    Args:
        model: Canonical graph, float or QDQ; not modified.
        options: Options.

    Raises:
        UnsupportedGraphError: With all nodes that cannot be expressed.
        UnsupportedError: If an input or output has a type that Core ML does not have.
        ConfigError: If images are asked for and the first input is none.
    """
    lowered, refused = _lower(model, options)
    if refused or lowered is None:
        raise UnsupportedGraphError("coreml", refused, _REMEDY)
    return lowered


def check_graph(model: ir.Model, options: LoweringOptions | None = None) -> SupportReport:
    """Nodes that cannot be expressed; the graph is not modified."""
    _, refused = _lower(model, options or LoweringOptions())
    return SupportReport(unsupported=tuple(refused))


def _lower(
    model: ir.Model, options: LoweringOptions
) -> tuple[LoweredProgram | None, list[UnsupportedNode]]:
    from coremltools.converters.mil.mil import Function, Program

    metadata = read_metadata(model)
    graph = prepare(model)
    e = Emitter(graph.opset_imports.get("", 1), options)
    with quietly():
        plan = plan_inputs(e, graph, metadata)
        program = Program()
        opset = getattr(ct.target, options.deployment_target)
        with Function(plan.placeholders, opset_version=opset) as function:
            read_inputs(e, graph, plan, function.inputs, metadata)
            refused = lower_all(e, graph.graph)
            if refused:
                return None, refused
            try:
                outputs = write_outputs(e, graph, plan)
                classifier, outputs = plan_classifier(e, plan, outputs, metadata)
            except Refusal as reason:
                return None, [_refused_output(e, graph, reason)]
            function.set_outputs(outputs)
        program.add_function("main", function)
    return _result(e, program, plan, classifier), []


def _result(e: Emitter, program: Any, plan: Any, classifier: Classifier | None) -> LoweredProgram:
    return LoweredProgram(
        program=program,
        inputs=tuple(plan.types),
        features=dict(plan.features),
        image=plan.image,
        classifier=classifier,
        origins=tuple((item.variable.name, item.value, item.role) for item in e.origins),
        notes=tuple(e.notes),
    )


def _refused_output(e: Emitter, graph: ir.Model, reason: Refusal) -> UnsupportedNode:
    value = graph.graph.outputs[0]
    node = value.producer()
    if node is not None:
        return unsupported(e, node, reason)
    return UnsupportedNode(
        node=str(value.name), op="output", opset=e.opset, shapes="", dtypes="", reason=str(reason)
    )
