"""Fixing the input shapes of a graph: only the batch may stay symbolic."""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir

from edgekit.core.signature import Dim
from edgekit.core.stage import Note
from edgekit.errors import UsageError
from edgekit.graph.importers.request import InputRequest
from edgekit.graph.signature import BATCH, dims_of, numpy_name


def fix_inputs(
    model: ir.Model, requests: Sequence[InputRequest], *, dynamic_batch: bool
) -> tuple[Note, ...]:
    """Replaces the symbolic dims of all inputs; ``model`` is modified.

    Args:
        model: Its other values get the same symbols replaced; what depends on an unknown
            symbol is left for shape inference.
        requests: Shapes by input name; an input that is not named keeps its static sizes.
        dynamic_batch: Keep a symbolic first dim, under the name ``"batch"``; otherwise it
            becomes what ``requests`` say, or 1.

    Returns:
        Notes on what could not be done as asked.

    Raises:
        UsageError: If a request contradicts the graph, names no input, or a dim besides the
            batch stays symbolic.
    """
    graph = model.graph
    named = {value.name or "": value for value in graph.inputs}
    requested = _by_name(requests, named)
    symbols: dict[str, Dim] = {}
    shapes = {
        name: _resolve(value, requested.get(name), symbols, dynamic_batch=dynamic_batch)
        for name, value in named.items()
    }
    shapes = {
        name: tuple(symbols.get(dim, dim) if isinstance(dim, str) else dim for dim in dims)
        for name, dims in shapes.items()
    }
    _refuse_symbols(shapes)
    for name, value in named.items():
        value.shape = ir.Shape(shapes[name])
    for node in graph:
        for output in node.outputs:
            output.shape = _substitute(output.shape, symbols)
    if dynamic_batch and not any(BATCH in dims for dims in shapes.values()):
        return (
            Note(level="warning", text="The file fixes the batch of its inputs; it cannot become "
                 "dynamic, so it stays as it is"),
        )  # fmt: skip
    return ()


def _by_name(
    requests: Sequence[InputRequest], named: dict[str, ir.Value]
) -> dict[str, InputRequest]:
    unknown = [request.name for request in requests if request.name not in named]
    if unknown:
        raise UsageError(
            f"The model has no input {', '.join(map(repr, unknown))}; "
            f"its inputs are {', '.join(map(repr, named))}"
        )
    return {request.name: request for request in requests}


def _resolve(
    value: ir.Value, request: InputRequest | None, symbols: dict[str, Dim], *, dynamic_batch: bool
) -> tuple[Dim, ...]:
    """Shape of one input; what its symbols become is added to ``symbols``."""
    dims = dims_of(value)
    if dims is None:
        if request is None:
            raise UsageError(
                f"The rank of input {value.name!r} is unknown; "
                f"give its shape with --input {value.name}:1x3x224x224"
            )
        dims = tuple("?" for _ in request.shape)
    if request is not None:
        _check_request(value, dims, request)
    shape: list[Dim] = []
    for position, dim in enumerate(dims):
        new: Dim = dim
        if isinstance(dim, str):
            if position == 0 and dynamic_batch:
                new = BATCH
            elif request is not None:
                new = request.shape[position]
            elif position == 0:
                new = 1
            if dim != "?" and dim not in symbols:
                symbols[dim] = new
        shape.append(new)
    return tuple(shape)


def _check_request(value: ir.Value, dims: tuple[Dim, ...], request: InputRequest) -> None:
    declared = f"{value.name}: [{', '.join(map(str, dims))}]"
    if len(dims) != len(request.shape):
        raise UsageError(f"--input {request} has another rank than the model's {declared}")
    for dim, size in zip(dims, request.shape, strict=True):
        if isinstance(dim, int) and dim != size:
            raise UsageError(
                f"--input {request} contradicts the model's {declared}: {dim} is fixed in the file"
            )
    if value.dtype is not None and numpy_name(value.dtype) != request.dtype:
        raise UsageError(
            f"--input {request} contradicts the model's dtype {numpy_name(value.dtype)}"
        )


def _refuse_symbols(shapes: dict[str, tuple[Dim, ...]]) -> None:
    open_inputs = {
        name: dims
        for name, dims in shapes.items()
        if any(isinstance(dim, str) and not (at == 0 and dim == BATCH)
               for at, dim in enumerate(dims))
    }  # fmt: skip
    if not open_inputs:
        return
    listed = "; ".join(
        f"{name}: [{', '.join(map(str, dims))}]" for name, dims in open_inputs.items()
    )
    examples = " ".join(
        f"--input {name}:" + "x".join(str(dim) if isinstance(dim, int) else "224" for dim in dims)
        for name, dims in open_inputs.items()
    )
    raise UsageError(
        f"Only the batch of an input may be symbolic, but the model has {listed}. "
        f"Fix the shapes, for example: {examples}"
    )


def _substitute(shape: ir.Shape | None, symbols: dict[str, Dim]) -> ir.Shape | None:
    """Replaces known symbols; a dim under any other symbol becomes unknown."""
    if shape is None:
        return None
    return ir.Shape(
        [dim if isinstance(dim, int) else symbols.get(dim.value or "") for dim in shape]
    )
