"""Importer of ``.pt2`` files, saved by ``torch.export.save``."""

from __future__ import annotations

from pathlib import Path

import onnx_ir as ir
import torch
from torch.utils import _pytree as pytree

from edgekit.core.stage import Note
from edgekit.errors import InputError, UsageError
from edgekit.graph.importers.quiet import quiet
from edgekit.graph.importers.request import ImportRequest
from edgekit.graph.importers.torch_export import (
    export_program,
    name_interface,
    output_names,
    verify_export,
)


def import_exported_program(request: ImportRequest) -> tuple[ir.Model, tuple[Note, ...]]:
    """Loads an exported program, translates it and checks the graph against it.

    Inputs keep the names of the program's arguments; outputs are named by their place in
    what the program returns.

    Raises:
        UsageError: If weights are given, which the file holds itself.
        InputError: If the file is missing or damaged.
        UnsupportedError: If an operator has no ONNX form.
        VerificationError: If the exported graph computes something else.
    """
    if request.weights is not None:
        raise UsageError(f"{request.source} holds its own weights; --weights is for torch modules")
    program = _load(Path(request.source))
    model = export_program(program, request.source)
    spec = program.call_spec.out_spec
    numbered = pytree.tree_unflatten(list(range(spec.num_leaves)), spec) if spec else None
    leaves, _ = pytree.tree_flatten_with_path(numbered)
    # Leaves of the spec that are None or numbers have no output in the graph.
    tensors = [place for place, leaf in leaves if _is_tensor_output(program, leaf)]
    inputs = [value.name or "" for value in model.graph.inputs]
    name_interface(model, inputs, output_names(tensors, inputs))
    return model, _compare(program, model, request.source)


def _load(path: Path) -> torch.export.ExportedProgram:
    if not path.is_file():
        raise InputError(f"No exported program at {path}")
    try:
        with quiet():
            return torch.export.load(path)
    except Exception as error:
        # torch.export.load raises many kinds on damaged archives.
        first = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        raise InputError(
            f"{path} is no file of torch.export.save, or is damaged: {first}"
        ) from error


def _is_tensor_output(program: torch.export.ExportedProgram, index: int) -> bool:
    outputs = [
        spec
        for spec in program.graph_signature.output_specs
        if spec.kind is torch.export.graph_signature.OutputKind.USER_OUTPUT
    ]
    argument = outputs[index].arg
    return isinstance(argument, torch.export.graph_signature.TensorArgument)


def _compare(
    program: torch.export.ExportedProgram, model: ir.Model, where: str
) -> tuple[Note, ...]:
    """Runs program and graph on the example inputs that the file holds."""
    examples = program.example_inputs
    leaves = pytree.tree_leaves(examples) if examples is not None else []
    if len(leaves) != len(model.graph.inputs) or not all(
        isinstance(leaf, torch.Tensor) for leaf in leaves
    ):
        return (
            Note(
                level="warning",
                text=f"The graph was not compared with {where}: the file holds no example inputs",
            ),
        )
    arguments, keywords = examples if examples is not None else ((), {})
    with quiet(), torch.no_grad():
        result = program.module()(*arguments, **keywords)
    tensors = [leaf for leaf in pytree.tree_leaves(result) if isinstance(leaf, torch.Tensor)]
    verify_export(
        model,
        {
            value.name or "": leaf.numpy()
            for value, leaf in zip(model.graph.inputs, leaves, strict=True)
        },
        {
            value.name or "": tensor.detach().numpy()
            for value, tensor in zip(model.graph.outputs, tensors, strict=True)
        },
        where,
    )
    return ()
