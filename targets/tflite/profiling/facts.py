"""What a .tflite file says of its operators, for a profile."""

from __future__ import annotations

from edgekit.core.op_profile import OpFacts
from edgekit.errors import InputError
from edgekit.graph.canonical_names import float_value_of
from edgekit.targets.tflite.metadata import embedded_in
from edgekit.targets.tflite.model_file import FileOperator, ModelFile
from edgekit.targets.tflite.operator_costs import FLOAT_TYPES, macs_of

_BORDERS = frozenset({"QUANTIZE", "DEQUANTIZE"})


class FileFacts:
    """The operators of the main graph by their places."""

    def __init__(self, file: ModelFile) -> None:
        """Reads what edgekit wrote into the file besides; another tool's file has nothing."""
        self._graph = file.main
        try:
            embedded = embedded_in(file)
        except InputError:  # the file is profiled all the same, under its own names
            embedded = None
        self._values = {item.tensor: item.value for item in embedded.tensors} if embedded else {}
        self._reasons = embedded.float_reasons if embedded else {}
        self._public = {index: name for name, index in file.named_outputs()}
        self._integers = any(self._on_integers(op) for op in self._graph.operators)

    def type_of(self, index: int) -> str:
        """Builtin name of an operator."""
        return self._graph.operators[index].name

    def of(self, index: int, partition: str, kernels: tuple[str, ...]) -> OpFacts:
        """What is known of an operator."""
        op = self._graph.operators[index]
        first = self._graph.tensors[op.outputs[0]] if op.outputs else None
        stored = first.name if first else ""
        public = self._public.get(op.outputs[0]) if op.outputs else None
        name = float_value_of(self._values.get(stored, public or stored))
        island = self._integers and op.name not in _BORDERS and self._on_floats(op)
        return OpFacts(
            index=index,
            op=op.name,
            name=name,
            shape=first.shape if first and first.ranked else (),
            dtype=first.dtype if first else "",
            partition=partition,
            kernels=kernels,
            macs=macs_of(self._graph, op),
            float_island=island,
            reason=self._reason(op) if island else "",
        )

    def _reason(self, op: FileOperator) -> str:
        names = [self._graph.tensors[index].name for index in op.outputs]
        return next((self._reasons[name] for name in names if name in self._reasons), "")

    def _on_integers(self, op: FileOperator) -> bool:
        """Whether a layer reads quantized activations and gives such."""
        return op.name not in _BORDERS and any(
            tensor.quantized and not tensor.constant and tensor.dtype not in FLOAT_TYPES
            for tensor in (self._graph.tensors[index] for index in op.inputs if index >= 0)
        )

    def _on_floats(self, op: FileOperator) -> bool:
        inputs = [self._graph.tensors[index] for index in op.inputs if index >= 0]
        operands = [tensor for tensor in inputs if not tensor.constant]
        operands += [self._graph.tensors[index] for index in op.outputs]
        return bool(operands) and operands[0].dtype in FLOAT_TYPES
