"""What placement takes for computable on integers, the lowering computes on integers."""

from __future__ import annotations

from edgekit.core.quant import QuantConstraints
from edgekit.targets.tflite.lowering import ops  # noqa: F401 - registers the lowerings
from edgekit.targets.tflite.lowering.registry import LOWERINGS


def test_every_integer_op_of_placement_has_an_integer_lowering() -> None:
    constraints = QuantConstraints()
    forced = {op for op, bits in constraints.forced_bits.items() if bits == 16}
    lowered = constraints.integer_ops & set(LOWERINGS)
    assert {op for op in lowered - forced if not LOWERINGS[op].computes_on("int8")} == set()


def test_every_16_bit_op_of_placement_has_a_16_bit_lowering() -> None:
    constraints = QuantConstraints()
    wide = (constraints.int16_ops | set(constraints.forced_bits)) & set(LOWERINGS)
    assert {op for op in wide if not LOWERINGS[op].computes_on("int16")} == set()


def test_forced_bits_have_kernels_by_placement() -> None:
    constraints = QuantConstraints()
    assert set(constraints.forced_bits) <= constraints.integer_ops & constraints.int16_ops
