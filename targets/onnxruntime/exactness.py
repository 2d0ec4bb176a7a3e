"""Compares an int8 artifact with the QDQ graph it was made from.

The artifact is that graph with activations moved to uint8 (`uint8_activations`), so constants are
compared node by node. What ONNX Runtime makes of it is another matter: it fuses Q/DQ nodes with
the operators between them into integer kernels. Those run on the graph's own integers here, each
alone, and the graph that the runtime made tells which operators stayed in float.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx_ir as ir
import onnxruntime

from edgekit.core.exactness import (
    ExactnessReport,
    ForcedDifference,
    TensorMismatch,
    accepted_lsb,
    largest_by_bits,
)
from edgekit.core.target import RuntimeConfig
from edgekit.graph.forced_graph import GIVEN, forced_graph, integers_of
from edgekit.graph.io import load_onnx, signature_of
from edgekit.graph.quantized import read_float_reasons
from edgekit.graph.quantized_integers import as_int8, as_type, quantized_integers
from edgekit.graph.values import constant_array, is_op
from edgekit.measure.agreement import share_of_equal_answers
from edgekit.measure.feeds import random_feeds
from edgekit.targets.onnxruntime.runtime import OrtSession, start_quietly

type Array = npt.NDArray[Any]

_QUANTIZERS = ("QuantizeLinear", "DequantizeLinear")
_ROLES = ("integers", "scale", "zero point")
_RANDOM_SAMPLES = 2
_FLOATS = {onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16, onnx.TensorProto.DOUBLE}


def compare_integers(
    artifact: Path, source: Path, samples: Sequence[Mapping[str, Array]] = ()
) -> ExactnessReport:
    """Compares constants, every operator, and the outputs.

    Args:
        artifact: ONNX file with uint8 or int8 activations.
        source: The QDQ graph it should be.
        samples: Inputs of the graph; seeded random ones where none are given.

    Raises:
        InputError: If a file is missing or damaged.
        UnsupportedError: If ONNX Runtime cannot run the artifact.
    """
    made, graph = load_onnx(artifact), load_onnx(source)
    compared, mismatches = compare_constants(made, graph)
    signature = signature_of(graph)
    feeds = list(samples) or [random_feeds(signature, seed) for seed in range(_RANDOM_SAMPLES)]
    forced = forced_differences(made, quantized_integers(graph, feeds), feeds)
    with closing(OrtSession(artifact, RuntimeConfig())) as session:
        agreement = share_of_equal_answers(session, graph, feeds)
    floats = float_operators(artifact, read_float_reasons(graph))
    return ExactnessReport(
        compared_tensors=compared,
        differing_tensors=len({(item.tensor, item.value) for item in mismatches}),
        mismatches=tuple(mismatches),
        float_ops=tuple(floats),
        float_reasons=floats,
        custom_ops=(),
        max_lsb=max((item.lsb for item in forced), default=None),
        max_lsb_by_bits=largest_by_bits(forced),
        forced=tuple(forced),
        agreement=agreement,
        samples=len(feeds),
    )


def compare_constants(artifact: ir.Model, source: ir.Model) -> tuple[int, list[TensorMismatch]]:
    """Compares integers, scales and zero points of all Q/DQ nodes, found by their outputs.

    Returns:
        How many nodes were compared, and what differs.
    """
    found = {
        str(node.outputs[0].name): node for node in artifact.graph if is_op(node, *_QUANTIZERS)
    }
    wanted = [node for node in source.graph if is_op(node, *_QUANTIZERS)]
    mismatches: list[TensorMismatch] = []
    for node in wanted:
        name = str(node.outputs[0].name)
        other = found.get(name)
        if other is None or other.op_type != node.op_type:
            what, detail = "missing", f"no {node.op_type} of that name"
            mismatches.append(TensorMismatch(tensor=name, value=name, what=what, detail=detail))
            continue
        for index, role in enumerate(_ROLES):
            detail = _difference(_constant(node, index), _constant(other, index))
            if detail:
                mismatches.append(
                    TensorMismatch(tensor=name, value=name, what=role, detail=detail)
                )
    return len(wanted), mismatches


def forced_differences(
    artifact: ir.Model,
    references: Sequence[Mapping[str, Array]],
    feeds: Sequence[Mapping[str, Array]],
) -> list[ForcedDifference]:
    """Largest difference of each QuantizeLinear whose sources are the graph's own integers.

    One copy of the artifact reads every quantized value from an input of its own instead of
    what it computed, so that no error reaches a second operator. ONNX Runtime optimizes it as
    it does the artifact.

    Args:
        artifact: Not modified.
        references: From `edgekit.graph.quantized_integers`.
        feeds: Inputs of the graph.
    """
    quantizers = {str(node.outputs[0].name): node for node in artifact.graph if _quantizes(node)}
    names = tuple(quantizers)
    forced = forced_graph(artifact, names)
    dtypes = {name: integers_of(node) for name, node in quantizers.items()}
    inputs = [str(value.name) for value in forced.graph.inputs]
    worst, wrong, total = (dict.fromkeys(names, 0) for _ in range(3))
    session = start_quietly(ir.to_proto(forced).SerializeToString(), 1)
    for sample, reference in zip(feeds, references, strict=True):
        integers = {f"{name}{GIVEN}": as_type(reference[name], dtypes[name]) for name in names}
        arrays = session.run(list(names), {name: {**sample, **integers}[name] for name in inputs})
        for name, array in zip(names, arrays, strict=True):
            steps = as_int8(array).astype(np.int64) - reference[name]
            worst[name] = max(worst[name], int(np.abs(steps).max(initial=0)))
            wrong[name] += int((steps != 0).sum())
            total[name] += steps.size
    found = [
        ForcedDifference(
            tensor=name,
            operators=_operators_of(node),
            bits=8 * dtypes[name].itemsize,
            lsb=worst[name],
            share=wrong[name] / max(total[name], 1),
        )
        for name, node in quantizers.items()
    ]
    return sorted(found, key=lambda item: (-item.lsb / accepted_lsb(item.bits), -item.share))


def float_operators(artifact: Path, stated: Mapping[str, str]) -> dict[str, str]:
    """Operators that ONNX Runtime leaves in float, each with the reason.

    Args:
        artifact: The ONNX file.
        stated: Why nodes of the graph are to compute in float, by name.
    """
    return operators_in_float(_optimized(artifact), stated)


def operators_in_float(optimized: onnx.ModelProto, stated: Mapping[str, str]) -> dict[str, str]:
    """Operators on floats of a graph that ONNX Runtime made, each with the reason.

    Args:
        optimized: The graph.
        stated: As in `float_operators`.
    """
    graph = optimized.graph
    runtime = f"ONNX Runtime {onnxruntime.__version__}"
    on_floats = {item.name for item in graph.input if item.type.tensor_type.elem_type in _FLOATS}
    found = {}
    for node in graph.node:
        reads = not on_floats.isdisjoint(node.input)
        if node.op_type == "DequantizeLinear" or (reads and not _gives_integers(node)):
            on_floats.update(node.output)
        if reads and node.op_type not in _QUANTIZERS:
            reason = stated.get(node.name, f"{runtime} computes {node.op_type} in float here")
            found[f"{node.op_type} -> {node.output[0]}"] = reason
    return found


def _gives_integers(node: onnx.NodeProto) -> bool:
    """Whether an operator that reads floats gives none."""
    return node.op_type in {"QuantizeLinear", "Shape", "Size", "ArgMax", "ArgMin", "NonZero"}


def _optimized(artifact: Path) -> onnx.ModelProto:
    """The graph that ONNX Runtime runs."""
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    with tempfile.TemporaryDirectory(prefix="edgekit-ort-") as folder:
        path = Path(folder) / "optimized.onnx"
        options.optimized_model_filepath = str(path)
        onnxruntime.InferenceSession(artifact, options, providers=["CPUExecutionProvider"])
        return onnx.load(path)


def _quantizes(node: ir.Node) -> bool:
    return is_op(node, "QuantizeLinear")


def _constant(node: ir.Node, index: int) -> Array | None:
    return constant_array(node.inputs[index]) if index < len(node.inputs) else None


def _difference(wanted: Array | None, found: Array | None) -> str:
    """What differs; empty where nothing does.

    uint8 may stand for int8, moved by 128, and one number repeated for it alone
    (`float_layers`).
    """
    if wanted is None and found is None:
        return ""
    if wanted is not None and found is not None and wanted.size == 1:
        different = np.unique(found)
        found = different.reshape(wanted.shape) if different.size == 1 else found
    if wanted is None or found is None or wanted.shape != found.shape:
        return "not a constant of the same shape"
    if found.dtype == np.uint8 and wanted.dtype == np.int8:
        found = as_int8(found)
    if wanted.dtype != found.dtype:
        return f"{wanted.dtype.name} became {found.dtype.name}"
    count = int((wanted != found).sum())
    return f"{count} of {wanted.size} elements differ" if count else ""


def _operators_of(node: ir.Node) -> tuple[str, ...]:
    """The QuantizeLinear with what it quantizes."""
    source = node.inputs[0].producer() if node.inputs[0] is not None else None
    return (node.op_type,) if source is None else (source.op_type, node.op_type)
