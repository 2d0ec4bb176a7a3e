"""MIL programs as they are stored: functions, blocks, operations, values.

Source: ``mlmodel/format/MIL.proto`` of coremltools (BSD-3-Clause).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from edgekit.targets.coreml.package.types import (
    BITS,
    DTYPES,
    DictionaryType,
    ListType,
    StateType,
    TensorType,
    TupleType,
    ValueType,
    numpy_dtype,
    unpack_bits,
)
from edgekit.targets.coreml.package.wire import (
    DamageError,
    entries,
    fields,
    message,
    number,
    packed_varints,
    signed,
    text,
)

_DEEPEST = 50
_MOST_ELEMENTS = 1 << 34

type Array = npt.NDArray[np.generic]
type Constant = Array | str | list[Any] | dict[Any, Any]


@dataclass(frozen=True, slots=True)
class Value:
    """A constant.

    Attributes:
        type: Its type.
        data: An array for tensors of numbers, text for one string, a list for lists, tuples
            and tensors of strings, a dictionary for dictionaries.
        blob: File and offset where the elements lie; None where they are in the program.
    """

    type: ValueType
    data: Constant | None
    blob: tuple[str, int] | None = None


@dataclass(frozen=True, slots=True)
class NamedType:
    """A name with its type."""

    name: str
    type: ValueType


@dataclass(frozen=True, slots=True)
class Operation:
    """One operation; an input is a list of names and constants, mostly of one."""

    type: str
    inputs: Mapping[str, tuple[str | Value, ...]]
    outputs: tuple[NamedType, ...]
    blocks: tuple[Block, ...]
    attributes: Mapping[str, Value]


@dataclass(frozen=True, slots=True)
class Block:
    """Operations in order, and the names that they give."""

    inputs: tuple[NamedType, ...]
    operations: tuple[Operation, ...]
    outputs: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Function:
    """A function with the block for its own opset."""

    inputs: tuple[NamedType, ...]
    opset: str
    block: Block


@dataclass(frozen=True, slots=True)
class Program:
    """All functions by name."""

    functions: Mapping[str, Function]


def parse_program(data: memoryview) -> Program:
    """Reads a program.

    Raises:
        DamageError: If the bytes are none.
    """
    functions = {}
    for index, _, value in fields(data):
        if index == 2:
            name, content = entries(message(value))
            functions[name] = _function(content)
    if not functions:
        raise DamageError("the program has no functions")
    return Program(functions)


def _function(data: memoryview) -> Function:
    inputs, opset, blocks = [], "", {}
    for index, _, value in fields(data):
        if index == 1:
            inputs.append(_named_type(message(value)))
        elif index == 2:
            opset = text(value)
        elif index == 3:
            name, content = entries(message(value))
            blocks[name] = _block(content, 0)
    if not blocks:
        raise DamageError("a function has no block")
    return Function(tuple(inputs), opset, blocks.get(opset) or next(iter(blocks.values())))


def _block(data: memoryview, depth: int) -> Block:
    if depth > _DEEPEST:
        raise DamageError(f"blocks are nested more than {_DEEPEST} deep")
    inputs, outputs, operations = [], [], []
    for index, _, value in fields(data):
        if index == 1:
            inputs.append(_named_type(message(value)))
        elif index == 2:
            outputs.append(text(value))
        elif index == 3:
            operations.append(_operation(message(value), depth))
    return Block(tuple(inputs), tuple(operations), tuple(outputs))


def _operation(data: memoryview, depth: int) -> Operation:
    kind = ""
    inputs: dict[str, tuple[str | Value, ...]] = {}
    outputs, blocks = [], []
    attributes: dict[str, Value] = {}
    for index, _, value in fields(data):
        if index == 1:
            kind = text(value)
        elif index == 2:
            name, content = entries(message(value))
            inputs[name] = _argument(content)
        elif index == 3:
            outputs.append(_named_type(message(value)))
        elif index == 4:
            blocks.append(_block(message(value), depth + 1))
        elif index == 5:
            name, content = entries(message(value))
            attributes[name] = parse_value(content)
    if not kind:
        raise DamageError("an operation has no type")
    return Operation(kind, inputs, tuple(outputs), tuple(blocks), attributes)


def _argument(data: memoryview) -> tuple[str | Value, ...]:
    found: list[str | Value] = []
    for index, _, value in fields(data):
        if index != 1:
            continue
        binding: str | Value | None = None
        for number_, _, content in fields(message(value)):
            if number_ == 1:
                binding = text(content)
            elif number_ == 2:
                binding = parse_value(message(content))
        if binding is None:
            raise DamageError("an argument is bound to nothing")
        found.append(binding)
    return tuple(found)


def _named_type(data: memoryview) -> NamedType:
    name: str = ""
    kind: ValueType | None = None
    for index, _, value in fields(data):
        if index == 1:
            name = text(value)
        elif index == 2:
            kind = _type(message(value), 0)
    if kind is None:
        raise DamageError(f"value {name!r} has no type")
    return NamedType(name, kind)


def _type(data: memoryview, depth: int) -> ValueType:
    if depth > _DEEPEST:
        raise DamageError(f"types are nested more than {_DEEPEST} deep")
    found: ValueType | None = None
    for index, _, value in fields(data):
        reader = _TYPE_READERS.get(index)
        if reader is not None:
            found = reader(message(value), depth + 1)
    if found is None:
        raise DamageError("a type is empty")
    return found


def _tensor_type(data: memoryview, _: int) -> TensorType:
    dtype, rank, sizes = "", 0, []
    for index, _kind, value in fields(data):
        if index == 1:
            code = number(value)
            if code not in DTYPES:
                raise DamageError(f"element type {code} is not known")
            dtype = DTYPES[code]
        elif index == 2:
            rank = signed(value)
        elif index == 3:
            sizes.append(_dimension(message(value)))
    if not dtype:
        raise DamageError("a tensor has no element type")
    return TensorType(dtype, tuple(sizes) if rank >= 0 else None)


def _dimension(data: memoryview) -> int | None:
    size: int | None = 0
    for index, _, value in fields(data):
        if index == 1:
            for inner, _kind, content in fields(message(value)):
                if inner == 1:
                    size = number(content)
        elif index == 2:
            size = None
    return size


def _list_type(data: memoryview, depth: int) -> ListType:
    element: ValueType | None = None
    length: int | None = None
    for index, _, value in fields(data):
        if index == 1:
            element = _type(message(value), depth)
        elif index == 2:
            length = _dimension(message(value))
    if element is None:
        raise DamageError("a list has no type of elements")
    return ListType(element, length)


def _tuple_type(data: memoryview, depth: int) -> TupleType:
    return TupleType(
        tuple(_type(message(value), depth) for index, _, value in fields(data) if index == 1)
    )


def _dictionary_type(data: memoryview, depth: int) -> DictionaryType:
    found = {index: _type(message(value), depth) for index, _, value in fields(data)}
    if 1 not in found or 2 not in found:
        raise DamageError("a dictionary lacks a type of keys or values")
    return DictionaryType(found[1], found[2])


def _state_type(data: memoryview, depth: int) -> StateType:
    for index, _, value in fields(data):
        if index == 1:
            return StateType(_type(message(value), depth))
    raise DamageError("a state wraps nothing")


_TYPE_READERS: dict[int, Callable[[memoryview, int], ValueType]] = {
    1: _tensor_type, 2: _list_type, 3: _tuple_type, 4: _dictionary_type, 5: _state_type,
}  # fmt: skip


def parse_value(data: memoryview, depth: int = 0) -> Value:
    """Reads a constant.

    Raises:
        DamageError: If the bytes are none.
    """
    if depth > _DEEPEST:
        raise DamageError(f"values are nested more than {_DEEPEST} deep")
    kind: ValueType | None = None
    immediate: memoryview | None = None
    blob: tuple[str, int] | None = None
    for index, _, value in fields(data):
        if index == 2:
            kind = _type(message(value), 0)
        elif index == 3:
            immediate = message(value)
        elif index == 5:
            blob = _blob(message(value))
    if kind is None:
        raise DamageError("a value has no type")
    if blob is not None:
        return Value(kind, None, blob)
    if immediate is None:
        raise DamageError("a value has no content")
    return Value(kind, _immediate(immediate, kind, depth))


def _blob(data: memoryview) -> tuple[str, int]:
    name, offset = "", 0
    for index, _, value in fields(data):
        if index == 1:
            name = text(value)
        elif index == 2:
            offset = number(value)
    return name, offset


def _immediate(data: memoryview, kind: ValueType, depth: int) -> Constant:
    for index, _, value in fields(data):
        content = message(value)
        if index == 1:
            if not isinstance(kind, TensorType):
                raise DamageError("a tensor stands where its type says something else")
            return _tensor(content, kind)
        if index in (2, 3):
            return [
                parse_value(message(item), depth + 1).data
                for inner, _, item in fields(content)
                if inner == 1
            ]
        if index == 4:
            return _dictionary(content, depth)
    if isinstance(kind, ListType | TupleType):
        return []
    raise DamageError("a value has no content")


def _dictionary(data: memoryview, depth: int) -> dict[Any, Any]:
    found = {}
    for index, _, value in fields(data):
        if index != 1:
            continue
        pair = {
            n: parse_value(message(item), depth + 1).data for n, _, item in fields(message(value))
        }
        key = pair.get(1)
        if key is None or 2 not in pair:
            raise DamageError("an entry of a dictionary lacks its key or value")
        found[key if isinstance(key, str) else int(np.asarray(key).reshape(-1)[0])] = pair[2]
    return found


def element_count(kind: TensorType) -> int:
    """Number of elements of a constant tensor.

    Raises:
        DamageError: If its shape is open.
    """
    if kind.shape is None or any(size is None for size in kind.shape):
        raise DamageError("a constant has an open shape")
    count = math.prod(size for size in kind.shape if size is not None)
    if count > _MOST_ELEMENTS:
        raise DamageError(f"a constant claims {count} elements")
    return count


def _tensor(data: memoryview, kind: TensorType) -> Constant:
    count = element_count(kind)
    shape = tuple(size for size in kind.shape or () if size is not None)
    for index, _, value in fields(data):
        if index == 4:
            texts = [text(item) for inner, _, item in fields(message(value)) if inner == 1]
            if len(texts) != count:
                raise DamageError(f"{count} texts are declared, {len(texts)} are there")
            return texts if shape else texts[0]
        flat = _numbers(index, message(value), kind.dtype, count)
        if flat.size != count:
            raise DamageError(f"{count} elements are declared, {flat.size} are there")
        return flat.reshape(shape)
    if count and kind.dtype == "string":
        return "" if not shape else [""] * count
    if count:
        raise DamageError("a tensor has no elements")
    return np.zeros(shape, numpy_dtype(kind.dtype))


_FIXED: dict[int, np.dtype[Any]] = {1: np.dtype("<f4"), 6: np.dtype("<f8")}


def _numbers(index: int, data: memoryview, dtype: str, count: int) -> Array:
    """Elements of one of the fields of a tensor value."""
    if dtype == "string":
        raise DamageError("numbers stand where texts are declared")
    wanted: np.dtype[Any] = numpy_dtype(dtype)
    raw = b"".join(bytes(message(v)) for inner, k, v in fields(data) if inner == 1 and k != 0)
    if index in _FIXED:
        fixed = _FIXED[index]
        if len(raw) % fixed.itemsize:
            raise DamageError("numbers are cut off")
        return np.frombuffer(raw, fixed).astype(wanted)
    if index in (2, 3, 5):
        items: list[int] = []
        for inner, kind, value in fields(data):
            if inner == 1:
                items += packed_varints(kind, value)
        whole = np.array(items, np.uint64).astype(np.int64)
        return whole.astype(wanted)
    if index == 7:
        if dtype in BITS:
            packed = np.frombuffer(raw, np.uint8)
            if 8 * len(packed) < count * BITS[dtype]:
                raise DamageError("elements are cut off")
            return unpack_bits(packed, dtype, count)
        if len(raw) % wanted.itemsize:
            raise DamageError("elements are cut off")
        return np.frombuffer(raw, wanted)
    raise DamageError(f"elements in field {index} are not known")
