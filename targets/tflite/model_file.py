"""The content of a .tflite file as plain data, with every reference in it checked.

Slots are field positions in TensorFlow Lite's ``schema.fbs`` (file identifier TFL3).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import prod
from pathlib import Path
from types import MappingProxyType

from edgekit.errors import InputError
from edgekit.targets.tflite.builtin_operators import CUSTOM_CODE, TYPE_NAMES, operator_name
from edgekit.targets.tflite.flatbuffer_reader import FlatBuffer, FlatTable
from edgekit.targets.tflite.stored_sparsity import sparsity_fault

IDENTIFIER = b"TFL3"
SCHEMA_VERSION = 3
_BLOCKWISE_DETAILS = 2
_HALF_BYTES = 2


@dataclass(frozen=True, slots=True)
class FileTensor:
    """One tensor of a subgraph.

    Attributes:
        name: As stored; other tools leave it empty at times.
        shape: Sizes in the stored order, 1 where a dim is dynamic.
        dynamic: Axes whose size is decided when the model runs (``shape_signature`` -1).
        ranked: False when the file leaves the shape open.
        dtype: Element type by the name in `TYPE_NAMES`.
        buffer: Index of its content; buffer 0 is empty by convention.
        constant: Whether the file holds its content.
        quantized: Whether it has at least one scale, or scales of blocks.
        block_scales: Tensor that holds the scales of its blocks; -1 unless it has blocks.
        variable: Whether it keeps its content from one run to the next.
    """

    name: str
    shape: tuple[int, ...]
    dynamic: frozenset[int]
    ranked: bool
    dtype: str
    buffer: int
    constant: bool
    quantized: bool
    variable: bool
    block_scales: int = -1


@dataclass(frozen=True, slots=True)
class FileOperator:
    """One operator; tensor index -1 stands for an optional input left out.

    Attributes:
        name: Builtin name such as ``"CONV_2D"``, or the custom operator's own name.
        custom: Whether it is a custom operator.
        inputs: Tensor indices.
        outputs: Tensor indices.
        options: Builtin options; None where absent.
    """

    name: str
    custom: bool
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    options: FlatTable | None


@dataclass(frozen=True, slots=True)
class FileGraph:
    """One subgraph; inputs and outputs are tensor indices in call order."""

    name: str
    tensors: tuple[FileTensor, ...]
    inputs: tuple[int, ...]
    outputs: tuple[int, ...]
    operators: tuple[FileOperator, ...]


@dataclass(frozen=True, slots=True)
class FileSignature:
    """A signature def: public names of a subgraph's inputs and outputs, with tensor indices."""

    key: str
    subgraph: int
    inputs: tuple[tuple[str, int], ...]
    outputs: tuple[tuple[str, int], ...]


@dataclass(frozen=True, slots=True)
class ModelFile:
    """A whole .tflite file.

    Attributes:
        name: File name, for messages.
        description: The model's own description.
        subgraphs: At least one; the first is the main graph.
        signatures: Signature defs; empty in files of old converters.
        metadata: Content of the metadata entries by name.
        size_bytes: Size of the file, an appended ZIP included.
    """

    name: str
    description: str
    subgraphs: tuple[FileGraph, ...]
    signatures: tuple[FileSignature, ...]
    metadata: Mapping[str, bytes]
    size_bytes: int

    @property
    def main(self) -> FileGraph:
        """The subgraph that runs when the interpreter is invoked."""
        return self.subgraphs[0]

    def named_inputs(self) -> tuple[tuple[str, int], ...]:
        """Name and tensor index of the main graph's inputs, in its order."""
        signature = self._main_signature()
        return self._named(self.main.inputs, signature.inputs if signature else ())

    def named_outputs(self) -> tuple[tuple[str, int], ...]:
        """Name and tensor index of the main graph's outputs, in its order."""
        signature = self._main_signature()
        return self._named(self.main.outputs, signature.outputs if signature else ())

    def _main_signature(self) -> FileSignature | None:
        return next((item for item in self.signatures if item.subgraph == 0), None)

    def _named(
        self, indices: Sequence[int], public: Sequence[tuple[str, int]]
    ) -> tuple[tuple[str, int], ...]:
        """Pairs tensors with their signature names; one tensor may have several in turn."""
        waiting: dict[int, list[str]] = {}
        for name, index in public:
            waiting.setdefault(index, []).append(name)
        pairs = []
        for index in indices:
            names = waiting.get(index)
            own = self.main.tensors[index].name or f"tensor_{index}"
            pairs.append((names.pop(0) if names else own, index))
        return tuple(pairs)


def read_model_file(path: Path) -> ModelFile:
    """Reads and checks a .tflite file; needs neither LiteRT nor flatbuffers.

    Raises:
        InputError: If the file is missing, damaged or of another format.
    """
    try:
        data = path.read_bytes()
    except FileNotFoundError:
        raise InputError(f"{path} does not exist. Check the path.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a folder; a .tflite file is expected.") from None
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror or error}.") from error
    return parse_model(data, path.name)


def parse_model(data: bytes, name: str) -> ModelFile:
    """Parses the bytes of a .tflite file.

    Args:
        data: The whole file.
        name: How messages call it.

    Raises:
        InputError: If the bytes are damaged or of another format.
    """
    root = FlatBuffer(data, name).root(IDENTIFIER, "TensorFlow Lite model (.tflite)")
    version = root.scalar(0, "I")
    if version != SCHEMA_VERSION:
        raise InputError(
            f"{name} has schema version {version}; version {SCHEMA_VERSION} is the only one "
            "in use, so the file is damaged or of another kind."
        )
    contents = tuple(_buffer_content(table) for table in root.tables(4))
    codes = tuple(_operator_code(table) for table in root.tables(1))
    graphs = tuple(_graph(table, contents, codes, name) for table in root.tables(2))
    if not graphs:
        raise InputError(f"{name} holds no graph; it is damaged or incomplete.")
    return ModelFile(
        name=name,
        description=root.string(3),
        subgraphs=graphs,
        signatures=tuple(_signature(table, graphs, name) for table in root.tables(7)),
        metadata=MappingProxyType(
            {
                table.string(0): _indexed(
                    contents, table.scalar(1, "I"), f"metadata {table.string(0)!r}", name
                ).tobytes()
                for table in root.tables(6)
            }
        ),
        size_bytes=len(data),
    )


def _indexed[ItemT](items: Sequence[ItemT], index: int, what: str, name: str) -> ItemT:
    if not 0 <= index < len(items):
        raise InputError(
            f"{name} is damaged: {what} refers to entry {index} of {len(items)}. "
            "It was altered; get it again."
        )
    return items[index]


def _buffer_content(table: FlatTable) -> memoryview:
    """The bytes of a buffer, also of one stored behind the flatbuffer (files above 2 GB)."""
    offset, size = table.scalar(1, "Q"), table.scalar(2, "Q")
    if offset > 1:
        table.buffer.check(offset, size)
        return table.buffer.data[offset : offset + size]
    return table.content(0)


def _operator_code(table: FlatTable) -> tuple[str, bool]:
    """Name of an operator and whether it is custom."""
    # Codes above 127 do not fit the first field; the second, newer one then holds them.
    code = max(table.scalar(0, "b"), table.scalar(3, "i"))
    if code == CUSTOM_CODE:
        return table.string(1) or "CUSTOM", True
    return operator_name(code), False


def _graph(
    table: FlatTable,
    contents: Sequence[memoryview],
    codes: Sequence[tuple[str, bool]],
    name: str,
) -> FileGraph:
    tensors = tuple(_tensor(item, contents, name) for item in table.tables(0))
    for item, tensor in zip(table.tables(0), tensors, strict=True):
        _check_blocks(item, tensor, tensors, contents, name)
    graph_name = table.string(4)

    def checked(indices: tuple[int, ...], what: str, lowest: int) -> tuple[int, ...]:
        for index in indices:
            if not lowest <= index < len(tensors):
                raise InputError(
                    f"{name} is damaged: {what} refers to tensor {index} of {len(tensors)}. "
                    "It was altered; get it again."
                )
        return indices

    operators = []
    for place, item in enumerate(table.tables(3)):
        what = f"operator {place}"
        op, custom = _indexed(codes, item.scalar(0, "I"), what, name)
        # The interpreter reads these vectors without looking at the file's end.
        item.content(5)
        item.integers(8)
        operators.append(
            FileOperator(
                name=op,
                custom=custom,
                inputs=checked(item.integers(1), what, -1),
                outputs=checked(item.integers(2), what, 0),
                options=item.table(4),
            )
        )
    return FileGraph(
        name=graph_name,
        tensors=tensors,
        inputs=checked(table.integers(1), "an input", 0),
        outputs=checked(table.integers(2), "an output", 0),
        operators=tuple(operators),
    )


def _tensor(table: FlatTable, contents: Sequence[memoryview], name: str) -> FileTensor:
    tensor_name = table.string(3)
    what = f"tensor {tensor_name!r}"
    shape = table.integers(0)
    signature = table.integers(7)
    if any(size < -1 for size in shape):
        raise InputError(f"{name} is damaged: {what} has the shape {list(shape)}.")
    if signature and len(signature) != len(shape):
        raise InputError(
            f"{name} is damaged: {what} has the shape {list(shape)}, "
            f"but the shape signature {list(signature)}."
        )
    dynamic = {axis for axis, size in enumerate(signature) if size < 0}
    dynamic |= {axis for axis, size in enumerate(shape) if size < 0}
    buffer = table.scalar(2, "I")
    quantization = table.table(4)
    if quantization is not None:
        quantization.integers(3, "q")
    blocks = _blocks(quantization)
    dtype = _indexed(TYPE_NAMES, table.scalar(1, "b"), f"the type of {what}", name)
    content = _indexed(contents, buffer, what, name)
    if fault := sparsity_fault(table.table(6), shape, dtype, len(content)):
        raise InputError(
            f"{name} is damaged: {what} has the shape {list(shape)}, but {fault}. "
            "It was altered; get it again."
        )
    return FileTensor(
        name=tensor_name,
        shape=tuple(1 if axis in dynamic else size for axis, size in enumerate(shape)),
        dynamic=frozenset(dynamic),
        ranked=bool(shape) or bool(table.scalar(8, "?")),
        dtype=dtype,
        buffer=buffer,
        constant=len(content) > 0,
        quantized=blocks is not None
        or (quantization is not None and len(quantization.floats(2)) > 0),
        variable=bool(table.scalar(5, "?")),
        block_scales=-1 if blocks is None else blocks.scalar(0, "i"),
    )


def _blocks(quantization: FlatTable | None) -> FlatTable | None:
    """What a file says of blocks; None where a tensor has none."""
    if quantization is None or quantization.scalar(4, "B") != _BLOCKWISE_DETAILS:
        return None
    return quantization.table(5)


def _check_blocks(
    table: FlatTable,
    tensor: FileTensor,
    tensors: Sequence[FileTensor],
    contents: Sequence[memoryview],
    name: str,
) -> None:
    """Checks the scales that a tensor in blocks refers to; kernels read them unchecked."""
    details = _blocks(table.table(4))
    if details is None:
        return
    what = f"the block scales of tensor {tensor.name!r}"
    block = details.scalar(2, "i")
    if block <= 0:
        raise InputError(f"{name} is damaged: {what} have a block size of {block}.")
    scales = _indexed(tensors, details.scalar(0, "i"), what, name)
    needed = prod(tensor.shape) // block * _HALF_BYTES
    if len(contents[scales.buffer]) < needed:
        raise InputError(
            f"{name} is damaged: {what} lie in {scales.name!r}, which has "
            f"{len(contents[scales.buffer])} of {needed} bytes. It was altered; get it again."
        )
    if (points := details.scalar(1, "i")) != -1:
        _indexed(tensors, points, what, name)


def _signature(table: FlatTable, graphs: Sequence[FileGraph], name: str) -> FileSignature:
    key = table.string(2)
    subgraph = table.scalar(4, "I")
    graph = _indexed(graphs, subgraph, f"signature {key!r}", name)

    def tensor_map(slot: int) -> tuple[tuple[str, int], ...]:
        pairs = []
        for item in table.tables(slot):
            index = item.scalar(1, "I")
            _indexed(graph.tensors, index, f"signature {key!r}", name)
            pairs.append((item.string(0), index))
        return tuple(pairs)

    return FileSignature(key=key, subgraph=subgraph, inputs=tensor_map(0), outputs=tensor_map(1))
