"""What the comparison of a quantized artifact with its QDQ graph finds."""

from __future__ import annotations

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


class ForcedDifference(FrozenModel):
    """Error of one operator that was given the graph's own integers as inputs.

    Attributes:
        tensor: Output in the artifact.
        operators: Operators between the given inputs and that output.
        lsb: Largest difference, in steps of the output's scale.
        share: Share of the elements that differ.
    """

    tensor: str
    operators: tuple[str, ...]
    lsb: int
    share: float


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
        custom_ops: Custom operators by name.
        max_lsb: Largest teacher-forced difference; None where nothing could be forced.
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
    custom_ops: tuple[str, ...]
    max_lsb: int | None
    forced: tuple[ForcedDifference, ...]
    agreement: float | None
    samples: int
    weights_only: bool = False
    rounded: tuple[RoundedDifference, ...] = ()

    @property
    def max_rounded(self) -> float | None:
        """Largest share in ``rounded``; None where no layer was run alone."""
        return max((item.share for item in self.rounded), default=None)
