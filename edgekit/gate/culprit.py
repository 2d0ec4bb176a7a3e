"""Names the layer that a loss of accuracy comes from.

The gate knows nothing of layers. It asks `find_culprit`, which hands over to the layer comparison
that `COMPARISON` names, imported when a gate has failed and not before.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from edgekit.core.metrics import Unavailable
from edgekit.core.target import Target
from edgekit.data.contract import DataSpec
from edgekit.errors import EdgekitError
from edgekit.gate.verdict import Culprit

COMPARISON = "edgekit.measure.culprit:find_culprit"
"""``"module:function"`` that takes a `CulpritRequest` and gives a `Culprit` or `Unavailable`."""

_FLOAT_GRAPH_SUFFIX = ".onnx"
_QDQ_SUFFIX = ".qdq.onnx"


@dataclass(frozen=True, slots=True)
class CulpritRequest:
    """A quantized artifact that lost accuracy.

    Attributes:
        artifact: The artifact.
        target: What runs it.
        before: The baseline's artifact; None where it is not at hand.
        qdq_graph: The QDQ graph that it was lowered from; None where the folder has none.
        float_graph: The float graph in ONNX; None where the folder has none.
        data: Samples of the set that it was evaluated on.
    """

    artifact: Path
    target: Target
    before: Path | None
    qdq_graph: Path | None
    float_graph: Path | None
    data: DataSpec


type CulpritFinder = Callable[[CulpritRequest], Culprit | Unavailable]


def find_culprit(request: CulpritRequest) -> Culprit | Unavailable:
    """The layer to blame, or why none is named; never raises, for the verdict stands anyway."""
    module, _, name = COMPARISON.partition(":")
    try:
        finder: CulpritFinder = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return Unavailable(reason="this installation has no layer comparison")
    try:
        return finder(request)
    except EdgekitError as error:
        return Unavailable(reason=f"the layers could not be compared: {error}")


def graphs_of(folder: Path | None, artifact: Path) -> tuple[Path | None, Path | None]:
    """The QDQ graph and the float graph beside an artifact in an output folder.

    Args:
        folder: The output folder; None looks beside the artifact.
        artifact: Named like ``MODEL.int8.tflite``; the graphs are ``MODEL.qdq.onnx`` (or with
            the form before ``qdq``) and ``MODEL.onnx``.
    """
    place = folder or artifact.parent
    stem = artifact.name.removesuffix(artifact.suffix)
    model, _, form = stem.rpartition(".")
    names = [f"{stem}{_QDQ_SUFFIX}", f"{model}.{form}{_QDQ_SUFFIX}", f"{model}{_QDQ_SUFFIX}"]
    quantized = next((place / name for name in names if (place / name).is_file()), None)
    plain = place / f"{model or stem}{_FLOAT_GRAPH_SUFFIX}"
    return quantized, plain if plain.is_file() and plain != artifact else None
