"""From a torch module or exported program to an ONNX graph, by torch's own exporter."""

from __future__ import annotations

import inspect
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx_ir as ir
import torch
from torch.utils import _pytree as pytree

from edgekit.core.signature import TensorSpec
from edgekit.errors import InputError, InternalError, UnsupportedError, VerificationError
from edgekit.graph.equivalence import TOLERANCE, difference, random_feeds
from edgekit.graph.importers.export_reasons import located, tracing_reason, translation_reason
from edgekit.graph.importers.quiet import quiet
from edgekit.graph.importers.request import InputRequest
from edgekit.graph.passes.convert_opset import CANONICAL_OPSET
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.signature import BATCH
from edgekit.graph.values import Array

_TENSORS = ("Tensor", "Parameter")
_DYNAMIC_BATCH = 2
"""Example batch of a dynamic export; torch specialises sizes 0 and 1."""


def export_module(
    module: torch.nn.Module, inputs: Sequence[InputRequest], *, dynamic_batch: bool, where: str
) -> ir.Model:
    """Exports a module in evaluation mode and checks the graph against it.

    Args:
        module: Not modified; its training mode is restored afterwards.
        inputs: Positional arguments of ``forward`` in order; where all names are parameters
            of ``forward``, they are given by name instead.
        dynamic_batch: Keep the first dim of every input symbolic.
        where: Source, for messages.

    Returns:
        Graph with inputs named as requested, outputs named by their place in what
        ``forward`` returns.

    Raises:
        InputError: If ``forward`` fails on inputs of the given shapes or returns no tensors.
        UnsupportedError: If torch cannot export the module; node and source line are named.
        VerificationError: If the exported graph computes something else.
    """
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        return _export_in_eval_mode(module, inputs, dynamic_batch=dynamic_batch, where=where)
    finally:
        for part, training in modes:
            part.training = training


def _export_in_eval_mode(
    module: torch.nn.Module, inputs: Sequence[InputRequest], *, dynamic_batch: bool, where: str
) -> ir.Model:
    ordered = _in_parameter_order(module, inputs)
    feeds = _example_feeds(ordered, dynamic_batch=dynamic_batch)
    outputs, names = _forward(module, feeds, ordered, where)
    arguments = _arguments(feeds)
    shapes = tuple({0: torch.export.Dim(BATCH)} for _ in arguments) if dynamic_batch else None
    program = _export(module, arguments, shapes, where)
    model = export_program(program, where)
    name_interface(model, [request.name for request in ordered], names)
    if dynamic_batch:
        _name_batch(model, where)
    try:
        verify_export(model, feeds, dict(zip(names, outputs, strict=True)), where)
    except VerificationError as error:
        again, _ = _forward(module, feeds, ordered, where)
        if all(map(np.array_equal, outputs, again)):
            raise
        raise UnsupportedError(
            f"forward of {where} gives different outputs for the same inputs, so no exported "
            "graph can match it; take the randomness out of it"
        ) from error
    return model


def export_program(program: torch.export.ExportedProgram, where: str) -> ir.Model:
    """Translates an exported program to ONNX.

    Raises:
        UnsupportedError: If an operator has no ONNX form; node and source line are named.
    """
    try:
        with quiet():
            exported = torch.onnx.export(
                program, dynamo=True, opset_version=CANONICAL_OPSET, verbose=False
            )
    except torch.onnx.OnnxExporterError as error:
        raise UnsupportedError(
            f"torch cannot export {where} to ONNX: {translation_reason(error, program)}"
        ) from error
    if exported is None:
        raise InternalError("torch.onnx.export gave no program")
    # The exporter's own onnx_ir objects may share memory with the module's parameters.
    return ir.from_proto(ir.to_proto(exported.model))


def _export(
    module: torch.nn.Module, arguments: tuple[torch.Tensor, ...], shapes: Any, where: str
) -> torch.export.ExportedProgram:
    try:
        with quiet(), torch.no_grad():
            return torch.export.export(module, arguments, dynamic_shapes=shapes)
    except Exception as error:
        # torch.export raises its own kinds and whatever tracing user code raises.
        raise UnsupportedError(
            f"torch.export cannot trace {where}: {tracing_reason(error)}"
        ) from error


def _in_parameter_order(
    module: torch.nn.Module, inputs: Sequence[InputRequest]
) -> list[InputRequest]:
    """Sorts ``inputs`` like forward's parameters, where all carry the parameters' names."""
    parameters = list(inspect.signature(module.forward).parameters)
    by_name = {request.name: request for request in inputs}
    if set(by_name) == set(parameters[: len(inputs)]):
        return [by_name[name] for name in parameters[: len(inputs)]]
    return list(inputs)


def _example_feeds(inputs: Sequence[InputRequest], *, dynamic_batch: bool) -> dict[str, Array]:
    specs = tuple(
        TensorSpec(
            name=request.name,
            shape=(_DYNAMIC_BATCH, *request.shape[1:]) if dynamic_batch else request.shape,
            dtype=request.dtype,
        )
        for request in inputs
    )
    return random_feeds(specs)


def _forward(
    module: torch.nn.Module,
    feeds: dict[str, Array],
    inputs: Sequence[InputRequest],
    where: str,
) -> tuple[list[Array], list[str]]:
    """Runs the module; gives its output tensors and a name for each."""
    try:
        with quiet(), torch.no_grad():
            result = module(*_arguments(feeds))
    except Exception as error:
        given = ", ".join(map(str, inputs))
        raise InputError(
            f"forward of {where} fails for the inputs {given}: {located(error)}. "
            "Check the shapes given with --input NAME:1x3x224x224"
        ) from error
    leaves, _ = pytree.tree_flatten_with_path(result)
    tensors = [(path, leaf) for path, leaf in leaves if isinstance(leaf, torch.Tensor)]
    others = {type(leaf).__name__ for _, leaf in leaves} - {"NoneType", *_TENSORS}
    if not tensors or others:
        listed = ", ".join(sorted(others)) or type(result).__name__
        raise InputError(
            f"forward of {where} must return tensors alone (in tuples, lists or dicts), "
            f"but it also returns {listed}"
            if tensors
            else f"forward of {where} returns no tensor but {listed}"
        )
    names = output_names([path for path, _ in tensors], [item.name for item in inputs])
    return [leaf.detach().numpy().copy() for _, leaf in tensors], names


def _arguments(feeds: dict[str, Array]) -> tuple[torch.Tensor, ...]:
    """Copies of ``feeds``, since forward may write into its arguments."""
    return tuple(torch.from_numpy(array.copy()) for array in feeds.values())


def output_names(places: Sequence[Sequence[Any]], inputs: Sequence[str]) -> list[str]:
    """A name for each output, from its place (path of pytree keys) in what forward returns.

    A lone tensor is ``output``, the second of a tuple ``output_1``, a dict entry its key,
    with ``output_`` before it where an input has that name.
    """
    names = [_output_name(place) for place in places]
    names = [f"output_{name}" if name in inputs else name for name in names]
    if len({*names, *inputs}) != len(names) + len(inputs):
        names = [f"output_tensor_{index}" for index in range(len(places))]
    return names


def _output_name(path: Sequence[Any]) -> str:
    keys = [
        str(getattr(key, "key", getattr(key, "name", getattr(key, "idx", "")))) for key in path
    ]
    name = re.sub(r"\W", "_", "_".join(keys))
    return name if name[:1].isalpha() else "_".join(filter(None, ("output", name)))


def name_interface(model: ir.Model, inputs: Sequence[str], outputs: Sequence[str]) -> None:
    """Renames inputs and outputs; values inside that hold such a name give way.

    Raises:
        UnsupportedError: If the graph has another number of inputs or outputs.
    """
    graph = model.graph
    if len(graph.inputs) != len(inputs):
        raise UnsupportedError(
            f"The exported graph has {len(graph.inputs)} inputs where {len(inputs)} were given: "
            "an input that forward does not use is dropped by torch; leave it out"
        )
    if len(graph.outputs) != len(outputs):
        raise UnsupportedError(
            f"The exported graph has {len(graph.outputs)} outputs where forward gives "
            f"{len(outputs)} tensors"
        )
    _separate_outputs(graph)
    wanted = {*inputs, *outputs}
    interface = {*graph.inputs, *graph.outputs}
    others = [
        *graph.initializers.values(),
        *(value for node in graph for value in node.outputs),
    ]
    for value in others:
        if value.name in wanted and value not in interface:
            value.name = f"{value.name}_inner"
    for index, value in enumerate((*graph.inputs, *graph.outputs)):
        value.name = f"__interface_{index}"
    for value, name in zip((*graph.inputs, *graph.outputs), (*inputs, *outputs), strict=True):
        value.name = name


def _separate_outputs(graph: ir.Graph) -> None:
    """Puts an Identity before an output that is an input, a weight, or given twice."""
    seen: set[ir.Value] = set()
    for index, value in enumerate(graph.outputs):
        if value.producer() is not None and value not in seen:
            seen.add(value)
            continue
        node = ir.node("Identity", [value], name=f"output_{index}_identity")
        node.outputs[0].shape, node.outputs[0].type = value.shape, value.type
        graph.append(node)
        graph.outputs[index] = node.outputs[0]


def _name_batch(model: ir.Model, where: str) -> None:
    """Renames torch's symbol of the batch (``s77``) to ``batch`` everywhere."""
    symbols = set()
    for value in model.graph.inputs:
        dim = value.shape[0] if value.shape else 0
        if isinstance(dim, int):
            raise UnsupportedError(
                f"{where} fixes the batch of input {value.name!r} at {dim}; "
                "import it without a dynamic batch"
            )
        symbols.add(dim.value)
    values = [*model.graph.inputs, *(value for node in model.graph for value in node.outputs)]
    for value in values:
        if value.shape is not None:
            value.shape = ir.Shape(
                [
                    dim if isinstance(dim, int) else (BATCH if dim.value in symbols else None)
                    for dim in value.shape
                ]
            )


def verify_export(
    model: ir.Model, feeds: dict[str, Array], expected: dict[str, Array], where: str
) -> None:
    """Compares a graph with what torch computes for the same inputs.

    Args:
        model: The exported graph.
        feeds: By input name.
        expected: Outputs of torch by output name.
        where: Source, for messages.

    Raises:
        VerificationError: If an output differs by more than the tolerance.
    """
    with ReferenceSession(model, optimization="disabled") as session:
        results = session.run(feeds)
    for name, reference in expected.items():
        found = difference(name, reference, np.asarray(results[name]))
        if not found.relative <= TOLERANCE:
            raise VerificationError(
                f"torch's ONNX export of {where} differs from the module in output {name!r} by "
                f"{found.relative:.1e} of its range (accepted: {TOLERANCE:.0e}); "
                "the exporter translates an op wrongly, or forward is not deterministic"
            )
