"""Which values share their parameters: union-find over the kernels that demand it."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import onnx_ir as ir

from edgekit.core.quant import ActivationScheme, FixedParameters, QuantConstraints, QuantScheme
from edgekit.graph.values import constant_array, constant_scalar, input_at
from edgekit.quantization.classification import Classification
from edgekit.quantization.placement import (
    ConstantOperand,
    Conversion,
    Reader,
    ValueGroup,
)
from edgekit.quantization.units import Unit, clamp_range

_BOUNDS = frozenset({"Max", "Min"})
"""Ops whose constants bound the other operand."""


class _UnionFind:
    """Disjoint sets of names."""

    def __init__(self) -> None:
        self._parent: dict[str, str] = {}

    def add(self, name: str) -> None:
        self._parent.setdefault(name, name)

    def find(self, name: str) -> str:
        root = name
        while self._parent[root] != root:
            root = self._parent[root]
        while self._parent[name] != root:
            self._parent[name], name = root, self._parent[name]
        return root

    def unite(self, kept: str, joined: str) -> None:
        self._parent[self.find(joined)] = self.find(kept)

    def names(self) -> Iterator[str]:
        return iter(self._parent)


@dataclass(slots=True)
class Grouping:
    """Groups while they are being formed; `build` runs the rules in their order.

    Attributes:
        stored_bits: Bits that each quantized value is stored with, in graph order.
    """

    found: Classification
    scheme: QuantScheme
    constraints: QuantConstraints
    stored_bits: dict[str, int] = field(default_factory=dict)
    _sets: _UnionFind = field(default_factory=_UnionFind)
    _fixed: dict[str, FixedParameters] = field(default_factory=dict)
    _read_as: dict[Reader, str] = field(default_factory=dict)
    _converted: dict[str, str] = field(default_factory=dict)
    _constants: dict[str, list[str]] = field(default_factory=lambda: defaultdict(list))
    _numbers: dict[str, list[float]] = field(default_factory=lambda: defaultdict(list))
    _passed_on: set[str] = field(default_factory=set)
    _symmetric: set[str] = field(default_factory=set)

    def build(self, graph: ir.Graph) -> None:
        """Finds what is quantized, and unites what has to share parameters.

        1. Outputs of integer units and what they read are quantized; a reader that needs
           other bits than a value is stored with gets a conversion.
        2. Units with one operand that share parameters with their output unite them. This
           comes first, so that the fixed outputs of a kernel are known through any reshape.
        3. Units with several operands (Concat, Max, Min) unite all of them, except an operand
           with fixed parameters, which is converted, unless all are fixed alike.
        4. A group becomes symmetric when an input in it must be; one with fixed parameters
           and another zero point stays, and the input gets a conversion.
        """
        self._collect(graph)
        sharing = [unit for unit in self.found.bits if self._shares(unit)]
        for unit in sharing:
            if len(list(unit.operands())) == 1:
                self._unite_all(unit)
        for unit in sharing:
            if len(list(unit.operands())) > 1:
                self._convert_fixed(unit)
                self._unite_all(unit)
        for unit, bits in self.found.bits.items():
            if bits == 8:
                self._make_symmetric(unit)

    def groups(self) -> tuple[ValueGroup, ...]:
        """The groups, in graph order of their first member."""
        members: dict[str, list[str]] = defaultdict(list)
        read = set(self._read_as.values())
        for name in self._sets.names():
            if name in read or name not in self._converted:
                members[self._sets.find(name)].append(name)
        return tuple(self._group(root, names) for root, names in members.items())

    def conversions(self) -> tuple[Conversion, ...]:
        """Conversions, in graph order."""
        return tuple(
            Conversion(
                name,
                value,
                tuple(reader for reader, read in self._read_as.items() if read == name),
            )
            for name, value in self._converted.items()
            if name in self._read_as.values()
        )

    def constants(self, groups: Sequence[ValueGroup]) -> tuple[ConstantOperand, ...]:
        """Constants that are no weights, in graph order."""
        name_of = {member: group.name for group in groups for member in group.members}
        placed: dict[tuple[str, str, ActivationScheme], list[Reader]] = defaultdict(list)
        for unit, bits in self.found.bits.items():
            shared = name_of[_name(unit.outputs[0])] if self._shares(unit) else ""
            symmetric = self._symmetric_inputs(unit)
            for index, value in unit.operands():
                if constant_array(value) is not None:
                    scheme = self._scheme_for(bits, symmetric=index in symmetric)
                    placed[_name(value), shared, scheme].append(Reader(unit.name, index))
        return tuple(
            ConstantOperand(value, tuple(readers), scheme, group)
            for (value, group, scheme), readers in placed.items()
        )

    def read_as(self, unit: Unit, index: int) -> str:
        """The member of a group that input ``index`` of an integer unit reads."""
        return self._read_as[Reader(unit.name, index)]

    def _collect(self, graph: ir.Graph) -> None:
        made = {value for unit in self.found.bits for value in unit.outputs}
        read = {
            value: self.found.bits[unit]
            for unit in self.found.bits
            for _, value in unit.operands()
            if constant_array(value) is None
        }
        order = [*graph.inputs, *(value for node in graph for value in node.outputs)]
        bits_of = {value: bits for unit, bits in self.found.bits.items() for value in unit.outputs}
        for value in order:
            if value in made:
                self._store(_name(value), bits_of[value])
            elif value in read:
                self._store(_name(value), self._bits_of_readers(value))
        for unit, bits in self.found.bits.items():
            self._collect_unit(unit, bits)

    def _bits_of_readers(self, value: ir.Value) -> int:
        """Bits of a value that no integer unit makes."""
        readers = {
            bits
            for unit, bits in self.found.bits.items()
            if any(operand is value for _, operand in unit.operands())
        }
        default = self.scheme.activations
        return readers.pop() if len(readers) == 1 or default is None else default.bits

    def _store(self, name: str, bits: int) -> None:
        self.stored_bits[name] = bits
        self._sets.add(name)

    def _collect_unit(self, unit: Unit, bits: int) -> None:
        table = self.constraints.fixed_outputs if bits == 8 else self.constraints.fixed_outputs_16
        if unit.node.op_type in table:
            self._fixed[_name(unit.outputs[0])] = table[unit.node.op_type]
        for index, value in unit.operands():
            if constant_array(value) is not None:
                continue
            name = _name(value)
            if self.stored_bits[name] != bits:
                name = self._convert(name, f"{name}/int{bits}/converted", bits)
            self._read_as[Reader(unit.name, index)] = name

    def _convert(self, value: str, name: str, bits: int) -> str:
        if name not in self._converted:
            self._converted[name] = self._converted.get(value, value)
            self._store(name, bits)
        return name

    def _shares(self, unit: Unit) -> bool:
        if unit.node.op_type == "Clip":
            return clamp_range(unit.node) not in self.constraints.clamp_ranges
        return unit.node.op_type in (
            self.constraints.movement_ops | self.constraints.same_scale_ops
        )

    def _convert_fixed(self, unit: Unit) -> None:
        """Gives operands with fixed parameters a conversion, unless all agree."""
        operands = [(index, constant_array(value) is not None) for index, value in unit.operands()]
        read = {
            index: self._read_as[Reader(unit.name, index)]
            for index, constant in operands
            if not constant
        }
        fixed = {
            index: self._fixed_of(name)
            for index, name in read.items()
            if self._fixed_of(name) is not None
        }
        kinds = {(item.scale, item.zero_point) for item in fixed.values() if item is not None}
        if len(fixed) == len(operands) and len(kinds) == 1:
            return
        for index in fixed:
            name = f"{read[index]}/{unit.name}/converted"
            bits = self.found.bits[unit]
            self._read_as[Reader(unit.name, index)] = self._convert(read[index], name, bits)

    def _symmetric_inputs(self, unit: Unit) -> tuple[int, ...]:
        if unit.weight is not None:
            return ()
        return self.constraints.symmetric_inputs.get(unit.node.op_type, ())

    def _make_symmetric(self, unit: Unit) -> None:
        """Sees to a zero point of 0 of the inputs that demand it."""
        for index in self._symmetric_inputs(unit):
            reader = Reader(unit.name, index)
            name = self._read_as.get(reader)
            if name is None:
                continue
            fixed = self._fixed_of(name)
            if fixed is not None and fixed.zero_point == 0:
                continue
            if fixed is not None:
                name = self._convert(name, f"{name}/symmetric", 8)
                self._read_as[reader] = name
            self._symmetric.add(name)

    def _unite_all(self, unit: Unit) -> None:
        outputs = [_name(value) for value in unit.outputs]
        # A bound far away does not widen the range, since it saturates; the result tells of one
        # that is reached.
        bounds = unit.node.op_type in _BOUNDS
        self._passed_on.update(() if bounds else outputs)
        for index, value in unit.operands():
            if constant_array(value) is not None:
                self._constants[outputs[0]] += [] if bounds else [_name(value)]
                continue
            operand = self._read_as[Reader(unit.name, index)]
            fixed = self._fixed_of(operand) or self._fixed_of(outputs[0])
            self._sets.unite(operand, outputs[0])
            if fixed is not None:
                self._fixed[self._sets.find(operand)] = fixed
        for output in outputs[1:]:
            self._sets.unite(outputs[0], output)
        if unit.node.op_type == "Pad":
            fill = constant_scalar(input_at(unit.node, 2))
            if fill:
                self._numbers[outputs[0]].append(fill)

    def _fixed_of(self, name: str) -> FixedParameters | None:
        return self._fixed.get(self._sets.find(name))

    def _group(self, root: str, names: list[str]) -> ValueGroup:
        sources = [
            self._converted.get(name, name) for name in names if name not in self._passed_on
        ]
        return ValueGroup(
            name=names[0],
            members=tuple(names),
            sources=tuple(dict.fromkeys(sources)),
            constants=tuple(item for name in names for item in self._constants.get(name, ())),
            numbers=tuple(item for name in names for item in self._numbers.get(name, ())),
            scheme=self._scheme_for(
                self.stored_bits[root], symmetric=not self._symmetric.isdisjoint(names)
            ),
            fixed=self._fixed.get(root),
        )

    def _scheme_for(self, bits: int, *, symmetric: bool) -> ActivationScheme:
        symmetric = symmetric or bits == 16 or self.scheme.activations_symmetric
        return ActivationScheme.model_validate({"bits": bits, "symmetric": symmetric})


def _name(value: ir.Value) -> str:
    return value.name or ""
