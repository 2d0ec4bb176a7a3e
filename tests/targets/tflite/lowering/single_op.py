"""Builds small ONNX graphs from text and runs them in ONNX Runtime and LiteRT."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import onnx.parser
import onnx.shape_inference
import onnx_ir as ir
import onnxruntime as ort
from ai_edge_litert.interpreter import Interpreter, OpResolverType

from edgekit.core.signature import ModelSignature
from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph

type Array = npt.NDArray[Any]

OPSET = 20
IMAGE = {"x": (1, 4, 9, 10)}


def ints(*values: int) -> Array:
    return np.array(values, np.int64)


def floats(*values: float) -> Array:
    return np.array(values, np.float32)


def scalar(value: float) -> Array:
    return np.array(value, np.float32)


@dataclass(frozen=True)
class Case:
    """One graph to lower.

    Attributes:
        name: Test id.
        body: Nodes in ONNX text syntax; the result is ``y`` (``y0, y1 ..`` for several).
        inputs: Shape of each runtime input; a float range of -3..3 is drawn.
        constants: Initializers: a shape (drawn at random) or an array.
        outputs: Names of the outputs.
        ops: Expected TFLite operators, where the count matters.
        opset: Operator set version.
    """

    name: str
    body: str
    inputs: Mapping[str, Sequence[int | str]]
    constants: Mapping[str, Sequence[int] | Array] = field(default_factory=dict)
    outputs: Sequence[str] = ("y",)
    ops: Mapping[str, int] | None = None
    opset: int = OPSET

    def __str__(self) -> str:
        return self.name


def build(case: Case) -> onnx.ModelProto:
    """The case as an ONNX model with inferred shapes."""
    rng = np.random.default_rng(7)
    inputs = ", ".join(f"float[{', '.join(map(str, s))}] {n}" for n, s in case.inputs.items())
    outputs = ", ".join(f"float {name}" for name in case.outputs)
    text = (
        f'<ir_version: 10, opset_import: ["" : {case.opset}]>\n'
        f"main ({inputs}) => ({outputs}) {{\n{case.body}\n}}"
    )
    model = onnx.parser.parse_model(text)
    for name, content in case.constants.items():
        array = (
            content
            if isinstance(content, np.ndarray)
            else rng.uniform(-1, 1, tuple(content)).astype(np.float32)
        )
        model.graph.initializer.append(onnx.numpy_helper.from_array(array, name))
    for output in model.graph.output:
        output.type.ClearField("value")
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True, data_prop=True)
    for index, node in enumerate(inferred.graph.node):
        node.name = node.name or f"node_{index}"
    return inferred


def random_inputs(case: Case, batch: int = 1) -> dict[str, Array]:
    """Seeded inputs; symbolic dims take ``batch``."""
    rng = np.random.default_rng(11)
    return {
        name: rng.uniform(-3, 3, [batch if isinstance(d, str) else d for d in shape]).astype(
            np.float32
        )
        for name, shape in case.inputs.items()
    }


def run_onnxruntime(model: onnx.ModelProto, feeds: Mapping[str, Array]) -> dict[str, Array]:
    """Reference results without graph optimisation."""
    options = ort.SessionOptions()
    options.graph_optimization_level = ort.GraphOptimizationLevel.ORT_DISABLE_ALL
    session = ort.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, dict(feeds)), strict=True))


def run_litert(
    data: bytes, signature: ModelSignature, feeds: Mapping[str, Array], *, delegate: bool
) -> dict[str, Array]:
    """Results of a TFLite model in the axis order of the ONNX graph."""
    resolver = (
        OpResolverType.BUILTIN if delegate else OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES
    )
    interpreter = Interpreter(model_content=data, experimental_op_resolver_type=resolver)
    details = {detail["name"]: detail["index"] for detail in interpreter.get_input_details()}
    for spec in signature.inputs:
        array = feeds[spec.name]
        stored = array if spec.stored_axes is None else array.transpose(spec.stored_axes)
        interpreter.resize_tensor_input(details[spec.name], stored.shape)
    interpreter.allocate_tensors()
    for spec in signature.inputs:
        array = feeds[spec.name]
        stored = array if spec.stored_axes is None else array.transpose(spec.stored_axes)
        interpreter.set_tensor(details[spec.name], np.ascontiguousarray(stored))
    interpreter.invoke()
    outputs = {detail["name"]: detail["index"] for detail in interpreter.get_output_details()}
    results = {}
    for spec in signature.outputs:
        array = interpreter.get_tensor(outputs[spec.name])
        if spec.stored_axes is not None:
            array = array.transpose(np.argsort(spec.stored_axes))
        results[spec.name] = array
    return results


def operator_counts(data: bytes) -> Counter[str]:
    """Builtin operators of a TFLite model, by name."""
    interpreter = Interpreter(
        model_content=data,
        experimental_op_resolver_type=OpResolverType.BUILTIN_WITHOUT_DEFAULT_DELEGATES,
    )
    return Counter(detail["op_name"] for detail in interpreter._get_ops_details())


def check(case: Case, *, weights_dtype: Any = "float32", tolerance: float = 2e-6) -> bytes:
    """Lowers a case and compares LiteRT, with and without XNNPACK, with ONNX Runtime.

    Returns:
        The TFLite file.
    """
    model = build(case)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions(weights_dtype=weights_dtype))
    feeds = random_inputs(case)
    expected = run_onnxruntime(model, feeds)
    for delegate in (True, False):
        actual = run_litert(lowered.data, lowered.signature, feeds, delegate=delegate)
        assert list(actual) == list(expected)
        for name, reference in expected.items():
            assert actual[name].shape == reference.shape
            span = max(float(np.ptp(reference)), float(np.abs(reference).max()), 1e-6)
            error = float(np.abs(actual[name].astype(np.float64) - reference).max())
            assert error <= tolerance * span, f"{name}, XNNPACK {delegate}: {error} of {span}"
    counts = operator_counts(lowered.data)
    if case.ops is not None:
        assert dict(counts) == dict(case.ops)
    return lowered.data
