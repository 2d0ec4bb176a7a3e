"""Comparing what two graphs compute, on seeded random inputs."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx_ir as ir

from edgekit.core.metrics import OutputDifference
from edgekit.core.signature import TensorSpec
from edgekit.errors import UnsupportedError
from edgekit.graph.reference import ReferenceSession
from edgekit.graph.signature import input_specs
from edgekit.graph.values import Array

TOLERANCE = 1e-4
"""Largest accepted difference, relative to the range of the output."""
_DYNAMIC_BATCH = 2
"""Batch of the inputs when the batch is symbolic: one would hide a batch baked in as 1."""


def random_feeds(
    inputs: Sequence[TensorSpec], seed: int = 0, batch: int = 1, *, small: bool = False
) -> dict[str, Array]:
    """Seeded inputs: normal floats, bytes over their range, other integers 0 or 1.

    Args:
        inputs: Inputs to fill; symbolic dims become ``batch``.
        seed: Seed of the generator.
        batch: Size of a symbolic dim.
        small: Also bytes are 0 or 1, which is safe where they index a table.
    """
    generator = np.random.default_rng(seed)
    return {spec.name: _random(spec, generator, batch, small) for spec in inputs}


def _random(spec: TensorSpec, generator: np.random.Generator, batch: int, small: bool) -> Array:
    shape = spec.concrete_shape(batch)
    if spec.dtype in {"float32", "float64", "float16"}:
        return generator.standard_normal(shape).astype(spec.dtype)
    if spec.dtype in {"uint8", "int8"} and not small:
        low = 0 if spec.dtype == "uint8" else -128
        return generator.integers(low, low + 256, shape).astype(spec.dtype)
    if spec.dtype in {"string", "bfloat16"}:
        raise UnsupportedError(f"Input {spec} cannot be verified: no random {spec.dtype} inputs")
    return generator.integers(0, 2, shape).astype(spec.dtype)


def difference(name: str, reference: Array, candidate: Array) -> OutputDifference:
    """Difference of one output; a NaN or infinity at the same place counts as equal.

    A different shape or dtype, or a NaN at another place, counts as an infinite difference.
    """
    infinite = OutputDifference(
        output=name, max_abs=float("inf"), reference_range=0.0, relative=float("inf")
    )
    if reference.shape != candidate.shape or reference.dtype != candidate.dtype:
        return infinite
    if not np.issubdtype(reference.dtype, np.number):
        same = bool(np.array_equal(reference, candidate))
        zero = OutputDifference(output=name, max_abs=0.0, reference_range=0.0, relative=0.0)
        return zero if same else infinite
    left, right = reference.astype(np.float64), candidate.astype(np.float64)
    finite = np.isfinite(left)
    if not np.array_equal(left[~finite], right[~finite], equal_nan=True):
        return infinite
    left, right = left[finite], right[finite]
    if not left.size:
        return OutputDifference(output=name, max_abs=0.0, reference_range=0.0, relative=0.0)
    max_abs = float(np.max(np.abs(left - right)))
    if not np.isfinite(max_abs):
        return infinite
    spread = float(left.max() - left.min())
    scale = spread or float(np.max(np.abs(left))) or 1.0
    return OutputDifference(
        output=name, max_abs=max_abs, reference_range=spread, relative=max_abs / scale
    )


def _run_as_asked(
    session: ReferenceSession, feeds: dict[str, Array], inputs: Sequence[TensorSpec]
) -> dict[str, Array]:
    try:
        return session.run(feeds)
    except UnsupportedError as error:
        if not any(isinstance(dim, str) for spec in inputs for dim in spec.shape):
            raise
        raise UnsupportedError(
            f"{error}. It was run with batch {_DYNAMIC_BATCH}, since its batch is symbolic; "
            "if it works for one batch only, import it with that batch"
        ) from error


class EquivalenceCheck:
    """Outputs of a model before any rewrite, with which every later form is compared.

    Attributes:
        worst: Largest relative difference seen.
    """

    def __init__(self, model: ir.Model, seed: int = 0) -> None:
        """Runs ``model`` once, node by node, on random inputs.

        Raises:
            UnsupportedError: If ONNX Runtime cannot run it.
        """
        self.worst = 0.0
        with ReferenceSession(model, optimization="disabled") as session:
            inputs = input_specs(model)
            self._feeds = random_feeds(inputs, seed, _DYNAMIC_BATCH)
            try:
                self._outputs = session.run(self._feeds)
            except UnsupportedError:
                # Bytes may be indices into a table that is smaller than their range.
                self._feeds = random_feeds(inputs, seed, _DYNAMIC_BATCH, small=True)
                self._outputs = _run_as_asked(session, self._feeds, inputs)

    def compare(self, model: ir.Model) -> tuple[OutputDifference, ...]:
        """Differences of ``model``'s outputs from the first ones, in output order.

        Raises:
            UnsupportedError: If ONNX Runtime cannot run it.
        """
        with ReferenceSession(model, optimization="disabled") as session:
            results = session.run(self._feeds)
        found = tuple(
            difference(name, reference, results[name]) for name, reference in self._outputs.items()
        )
        self.worst = max([self.worst, *(item.relative for item in found)])
        return found
