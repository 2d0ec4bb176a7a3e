"""The whole comparison of a .tflite file with the QDQ graph it was lowered from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy.typing as npt

from edgekit.core.exactness import (
    ExactnessReport,
    ForcedDifference,
    RoundedDifference,
    largest_by_bits,
)
from edgekit.core.target import RuntimeConfig
from edgekit.errors import InputError, UnsupportedError
from edgekit.graph.io import load_onnx, signature_of
from edgekit.graph.quantized_integers import quantized_integers
from edgekit.measure.agreement import gives_scores, share_of_equal_answers
from edgekit.measure.feeds import random_feeds
from edgekit.targets.tflite.exactness.float_forcing import rounded_differences
from edgekit.targets.tflite.exactness.parameters import compare_parameters
from edgekit.targets.tflite.exactness.stored_model import StoredModel, read_stored_model
from edgekit.targets.tflite.exactness.teacher_forcing import forced_differences
from edgekit.targets.tflite.lowering.flatbuffer import QUANTIZERS
from edgekit.targets.tflite.metadata import read_embedded
from edgekit.targets.tflite.runtime import LiteRTSession

type Array = npt.NDArray[Any]

_RANDOM_SAMPLES = 2


def compare_with_graph(
    artifact: Path, qdq: Path, samples: Sequence[Mapping[str, Array]] = ()
) -> ExactnessReport:
    """Compares integers, scales and zero points, every operator, and the outputs.

    Args:
        artifact: .tflite file that edgekit's own engine wrote.
        qdq: The QDQ graph it should be.
        samples: Real inputs of the graph; seeded random ones where none are given.

    Raises:
        InputError: If a file is missing or damaged, or the artifact does not say which value
            each tensor holds.
    """
    embedded = read_embedded(artifact)
    if embedded is None or not embedded.tensors:
        raise InputError(
            f"{artifact} does not say which values its tensors hold, so it cannot be compared "
            "tensor by tensor. Only files of edgekit's own engine do (--engine edgekit)."
        )
    graph = load_onnx(qdq)
    stored = read_stored_model(artifact)
    parameters = compare_parameters(graph.graph, stored, embedded.tensors)
    signature = signature_of(graph)
    feeds = list(samples) or [random_feeds(signature, seed) for seed in range(_RANDOM_SAMPLES)]
    weights_only = not any(node.op_type == "QuantizeLinear" for node in graph.graph)
    forced: list[ForcedDifference] = []
    rounded: list[RoundedDifference] = []
    agreement = None
    try:
        if weights_only:
            rounded = rounded_differences(stored, embedded.tensors, graph, feeds)
        else:
            references = quantized_integers(graph, feeds)
            forced = forced_differences(stored, embedded.tensors, references)
        # Float results that are no scores are never equal to the last digit.
        if not weights_only or gives_scores(graph.graph):
            with closing(LiteRTSession(artifact, RuntimeConfig())) as session:
                agreement = share_of_equal_answers(session, graph, feeds)
    except (RuntimeError, UnsupportedError):
        # With wrong parameters LiteRT may refuse to run the file; they are the finding then.
        if not parameters.mismatches:
            raise
        forced, rounded, agreement = [], [], None
    floats = _float_operators(stored)
    return ExactnessReport(
        compared_tensors=parameters.compared,
        differing_tensors=len({(m.tensor, m.value) for m in parameters.mismatches}),
        mismatches=parameters.mismatches,
        float_ops=tuple(floats),
        float_reasons={
            entry: embedded.float_reasons[tensor]
            for entry, tensor in floats.items()
            if tensor in embedded.float_reasons
        },
        custom_ops=tuple(name for name, _, _ in stored.operators if name == "CUSTOM"),
        max_lsb=max((item.lsb for item in forced), default=None),
        max_lsb_by_bits=largest_by_bits(forced),
        forced=tuple(forced),
        agreement=agreement,
        samples=len(feeds),
        weights_only=weights_only,
        rounded=tuple(rounded),
    )


def _float_operators(model: StoredModel) -> dict[str, str]:
    """Operators other than QUANTIZE and DEQUANTIZE with a float activation.

    Returns:
        The first tensor that each writes, by the operator as it is reported.
    """
    found = {}
    for name, inputs, outputs in model.operators:
        if name in QUANTIZERS:
            continue
        touched = [model.tensors[index] for index in (*inputs, *outputs) if index >= 0]
        if any(tensor.data is None and tensor.dtype == "float32" for tensor in touched):
            written = model.tensors[outputs[0]].name
            found[f"{name} -> {written}"] = written
    return found
