"""Names the layer that a loss of accuracy comes from.

The gate knows nothing of layers. `find_culprit` hands over to the layer comparison that
`COMPARISON` names, imported when a gate has failed and not before, and takes its first culprit.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from edgekit.core.layer_error import Culprit, LayerComparison
from edgekit.core.metrics import Unavailable
from edgekit.core.target import Target
from edgekit.data.contract import DataSpec
from edgekit.errors import EdgekitError

COMPARISON = "edgekit.gate.layers:compare_request"
"""``"module:function"`` that takes a `CulpritRequest` and gives a `LayerComparison` whose first
artifact is the one that failed."""

_FLOAT_SUFFIX = ".onnx"
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
        data: The samples that it was evaluated on.
    """

    artifact: Path
    target: Target
    before: Path | None
    qdq_graph: Path | None
    float_graph: Path | None
    data: DataSpec


@dataclass(frozen=True, slots=True)
class Blame:
    """What is known of the origin of a loss.

    Attributes:
        culprit: The layer, or why none is named.
        remedy: What to try; empty where nothing is known.
    """

    culprit: Culprit | Unavailable
    remedy: str = ""


type CulpritFinder = Callable[[CulpritRequest], Blame]


def find_culprit(request: CulpritRequest) -> Blame:
    """The layer to blame, or why none is named; never raises, for the verdict stands anyway."""
    module, _, name = COMPARISON.partition(":")
    try:
        compare: Callable[[CulpritRequest], LayerComparison] = getattr(import_module(module), name)
    except (ImportError, AttributeError):
        return Blame(Unavailable(reason="this version has no layer comparison"))
    try:
        return first_culprit(compare(request))
    except EdgekitError as error:
        return Blame(Unavailable(reason=f"the layers could not be compared: {error}"))
    except Exception as error:
        # A defect of the comparison must not hide that the artifact has failed.
        what = f"{type(error).__name__}: {error}"
        return Blame(Unavailable(reason=f"comparing the layers failed by a defect, {what}"))


def first_culprit(comparison: LayerComparison) -> Blame:
    """What the comparison says of its first artifact."""
    errors = comparison.artifacts[0]
    if not errors.culprits:
        return Blame(Unavailable(reason=f"no layer is out of line. {errors.verdict}"))
    remedy = next((item for item in errors.remedies), None)
    if remedy is None:
        return Blame(errors.culprits[0])
    options = f" ({' '.join(remedy.options)})" if remedy.options else ""
    return Blame(errors.culprits[0], f"{remedy.text.rstrip('.')}{options}.")


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
    names = [f"{model}.{form}{_QDQ_SUFFIX}", f"{model or stem}{_QDQ_SUFFIX}"]
    quantized = next((place / name for name in names if (place / name).is_file()), None)
    plain = place / f"{model or stem}{_FLOAT_SUFFIX}"
    return quantized, plain if plain.is_file() and plain != artifact else None
