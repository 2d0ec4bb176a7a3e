"""What the comparison of a quantized artifact with its QDQ graph finds."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from edgekit.core.model_base import FrozenModel


class TensorMismatch(FrozenModel):
    """One tensor whose integers or parameters differ from the graph's.

    Attributes:
        tensor: Name in the artifact.
        value: Name in the QDQ graph.
        what: ``"integers"``, ``"scale"``, ``"zero point"``, ``"type"`` or ``"missing"``.
        detail: Both sides, or how many elements differ.
    """

    tensor: str
    value: str
    what: str
    detail: str


ACCEPTED_LSB = {8: 1, 16: 8}
"""Steps by which an operator may differ, by bits of its output.

Kernels multiply by fixed-point numbers, so that an 8-bit operator may round one step otherwise.
16-bit kernels of functions interpolate in tables (EXP is up to 5 steps off), and 8 of their steps
are 1/32 of an 8-bit one.
"""


def accepted_lsb(bits: int) -> int:
    """Largest teacher-forced difference of a right operator, in steps of its output.

    Args:
        bits: Bits of the output, 8 or 16.
    """
    return ACCEPTED_LSB[bits]


def steps_in_words(lsb: int, bits: int) -> str:
    """A difference in steps of an output, which have 8 bits unless it says otherwise."""
    return f"{lsb} LSB" if bits == 8 else f"{lsb} LSB of {bits} bits"


class ForcedDifference(FrozenModel):
    """Error of one operator that was given the graph's own integers as inputs.

    Attributes:
        tensor: Output in the artifact.
        operators: Operators between the given inputs and that output.
        bits: Bits of the output, 8 or 16.
        lsb: Largest difference, in steps of the output's scale.
        share: Share of the elements that differ.
    """

    tensor: str
    operators: tuple[str, ...]
    bits: int = 8
    lsb: int
    share: float


def largest_by_bits(differences: Sequence[ForcedDifference]) -> dict[int, int]:
    """Largest of the differences for each number of bits of an output."""
    found: dict[int, int] = {}
    for item in sorted(differences, key=lambda item: item.bits):
        found[item.bits] = max(found.get(item.bits, 0), item.lsb)
    return found


class RoundedDifference(FrozenModel):
    """Error of one layer on integer weights that was given the graph's own float activations.

    Attributes:
        tensor: Output in the artifact.
        operators: Operators between the given activations and that output.
        dynamic: Whether its kernel rounds activations to 8 bits as they come.
        share: Largest difference as a share of what such rounding, or that of float32 sums,
            can explain at most; above 1 the layer computes something else.
    """

    tensor: str
    operators: tuple[str, ...]
    dynamic: bool
    share: float


class ExactnessReport(FrozenModel):
    """Comparison of a quantized artifact with its QDQ graph.

    Attributes:
        compared_tensors: Weights, biases and activations whose parameters were compared.
        differing_tensors: Number of those that differ; must be 0.
        mismatches: The tensors that differ.
        float_ops: Operators that compute in floating point, by tensor they write; all of them
            where ``weights_only``, as they should.
        float_reasons: Why each of ``float_ops`` does so, where graph or artifact tell.
        custom_ops: Custom operators by name.
        max_lsb: Largest teacher-forced difference, of whatever bits; None where nothing could
            be forced.
        max_lsb_by_bits: The same for each number of bits of an output.
        forced: Teacher-forced differences, the largest first.
        agreement: Share of samples on which the best class (or, without classes, every
            output element within one step) is the same as in ONNX Runtime, end to end.
        samples: Samples behind ``max_lsb``, ``rounded`` and ``agreement``.
        weights_only: Whether the graph has integer weights alone, its activations being float.
        rounded: Differences of the layers of such an artifact, the largest first.
    """

    compared_tensors: int
    differing_tensors: int
    mismatches: tuple[TensorMismatch, ...]
    float_ops: tuple[str, ...]
    float_reasons: dict[str, str] = Field(default_factory=dict)
    custom_ops: tuple[str, ...]
    max_lsb: int | None
    max_lsb_by_bits: dict[int, int] = Field(default_factory=dict)
    forced: tuple[ForcedDifference, ...]
    agreement: float | None
    samples: int
    weights_only: bool = False
    rounded: tuple[RoundedDifference, ...] = ()

    @property
    def hidden_float_ops(self) -> tuple[str, ...]:
        """Operators that compute in float for no stated reason: must be none."""
        if self.weights_only:
            return ()
        return tuple(name for name in self.float_ops if name not in self.float_reasons)

    def float_ops_by_reason(self) -> dict[str, tuple[str, ...]]:
        """The explained ones of ``float_ops``, together where they have one reason."""
        found: dict[str, tuple[str, ...]] = {}
        for name in self.float_ops:
            if name in self.float_reasons:
                reason = self.float_reasons[name]
                found[reason] = (*found.get(reason, ()), name)
        return found

    @property
    def max_rounded(self) -> float | None:
        """Largest share in ``rounded``; None where no layer was run alone."""
        return max((item.share for item in self.rounded), default=None)

    @property
    def forced_summary(self) -> str:
        """Largest teacher-forced difference for each number of bits, in words."""
        if self.max_lsb is None:
            return "not measured"
        largest = self.max_lsb_by_bits or {8: self.max_lsb}
        return ", ".join(steps_in_words(largest[bits], bits) for bits in sorted(largest))

    def beyond(self, limit: int | None = None) -> tuple[ForcedDifference, ...]:
        """Operators that are further off than is accepted.

        Args:
            limit: Accepted steps; None takes those of `accepted_lsb`.
        """
        return tuple(
            item
            for item in self.forced
            if item.lsb > (accepted_lsb(item.bits) if limit is None else limit)
        )
