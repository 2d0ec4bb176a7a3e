"""Exporter of a torch module that lives in the calling program."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import get_args

import torch

from edgekit.core.metadata import ModelMetadata
from edgekit.core.signature import DType
from edgekit.errors import UsageError
from edgekit.graph.importers.request import InputRequest
from edgekit.graph.importers.torch_export import export_module
from edgekit.graph.importers.weights import refuse_nan
from edgekit.graph.io import save_onnx
from edgekit.graph.metadata import write_metadata


def requests_of(
    module: torch.nn.Module, example_inputs: Sequence[torch.Tensor]
) -> tuple[InputRequest, ...]:
    """Names from the parameters of ``forward``, shapes and dtypes from the examples.

    Raises:
        UsageError: If ONNX has no such dtype.
    """
    parameters = inspect.signature(module.forward).parameters.values()
    names = [item.name for item in parameters if item.kind is item.POSITIONAL_OR_KEYWORD]
    names += [f"input_{index}" for index in range(len(names), len(example_inputs))]
    requests = []
    for name, tensor in zip(names, example_inputs, strict=False):
        dtype = str(tensor.dtype).removeprefix("torch.")
        if dtype not in get_args(DType):
            raise UsageError(f"Input {name!r} is of type {dtype}, which ONNX does not know.")
        requests.append(InputRequest(name=name, shape=tuple(tensor.shape), dtype=dtype))
    return tuple(requests)


def export_to_file(
    module: torch.nn.Module, inputs: Sequence[InputRequest], path: Path, *, dynamic_batch: bool
) -> None:
    """Writes the module as an ONNX file that says where it came from.

    Args:
        module: On the CPU. Its weights and training flags are as before afterwards.
        inputs: Positional arguments of ``forward``.
        path: The file; its stem becomes the model's name.
        dynamic_batch: Keep the first dim of every input symbolic.

    Raises:
        InputError: If weights are NaN, or ``forward`` fails on the inputs.
        UnsupportedError: If torch cannot export the module.
        VerificationError: If the exported graph computes something else.
    """
    where = type(module).__qualname__
    refuse_nan(module, where)
    with _training_flags_kept(module):
        graph = export_module(module, inputs, dynamic_batch=dynamic_batch, where=where)
    write_metadata(graph, ModelMetadata(name=path.stem, source=where))
    save_onnx(graph, path)


@contextmanager
def _training_flags_kept(module: torch.nn.Module) -> Iterator[None]:
    """Puts back what `torch.nn.Module.eval` changes, for each part on its own."""
    flags = [(part, part.training) for part in module.modules()]
    try:
        yield
    finally:
        for part, flag in flags:
            part.training = flag
