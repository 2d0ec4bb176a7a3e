"""Names the layer that a loss of accuracy comes from.

The gate knows nothing of layers. `find_culprit` hands over to the layer comparison that
`COMPARISON` names, imported when a gate has failed and not before, and takes its first culprit.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from edgekit.core.layer_error import ArtifactErrors, Culprit, LayerComparison
from edgekit.core.metrics import Unavailable
from edgekit.data.contract import DataSpec
from edgekit.errors import EdgekitError
from edgekit.measure.remedies import suggest

COMPARISON = "edgekit.pipeline.comparison:compare_sources"
"""``"module:function"`` that takes the paths of a reference and of the artifact, and samples, and
gives a `LayerComparison`."""

_FLOAT_SUFFIX = ".onnx"
_WORSE_DB = 1.0
"""By how much an own error has to grow to be another one: the samples are the same."""


@dataclass(frozen=True, slots=True)
class CulpritRequest:
    """A quantized artifact that lost accuracy.

    Attributes:
        artifact: The artifact.
        references: What its layers can be compared with, the best first; see `references_of`.
        data: The samples that it was evaluated on.
        before: The baseline's artifact, so that a layer is not blamed that was no better then;
            None where it is not at hand.
    """

    artifact: Path
    references: tuple[Path, ...]
    data: DataSpec
    before: Path | None = None


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
    if not request.references:
        reason = (
            "there is neither a float graph nor a float artifact in the folder to compare layers "
            "with; name one with --reference"
        )
        return Blame(Unavailable(reason=reason))
    module, _, name = COMPARISON.partition(":")
    try:
        compare: Callable[[Sequence[str], DataSpec], LayerComparison] = getattr(
            import_module(module), name
        )
    except (ImportError, AttributeError):
        return Blame(Unavailable(reason="this version has no layer comparison"))
    problem = ""
    for sources in _attempts(request):
        try:
            return first_culprit(compare([str(path) for path in sources], request.data))
        except EdgekitError as error:
            problem = problem or f"the layers could not be compared: {error}"
        except Exception as error:
            # A defect of the comparison must not hide that the artifact has failed.
            what = f"{type(error).__name__}: {error}"
            problem = problem or f"comparing the layers failed by a defect, {what}"
    return Blame(Unavailable(reason=problem))


def _attempts(request: CulpritRequest) -> Iterator[tuple[Path, ...]]:
    """Reference, artifact, and the baseline's artifact where it can be had, the best first."""
    for reference in request.references:
        if request.before is not None and request.before != reference:
            yield reference, request.artifact, request.before
        yield reference, request.artifact


def first_culprit(comparison: LayerComparison) -> Blame:
    """What the comparison says of its first artifact.

    Args:
        comparison: Of the artifact, and behind it that of the baseline where it is at hand: a
            layer that is no further out of line than there is not what the loss comes from.
    """
    errors, *before = comparison.artifacts
    if not errors.culprits:
        return Blame(Unavailable(reason=f"no layer is out of line. {errors.verdict}"))
    culprits = _worsened(errors, before[0]) if before else errors.culprits
    if not culprits:
        return Blame(
            Unavailable(
                reason="no layer is further out of line than in the baseline's artifact. "
                f"{errors.verdict}"
            )
        )
    remedies = errors.remedies
    if culprits[0] != errors.culprits[0]:
        remedies = suggest(errors.model_copy(update={"culprits": culprits}))
    remedy = next((item for item in remedies), None)
    if remedy is None:
        return Blame(culprits[0])
    options = f" ({' '.join(remedy.options)})" if remedy.options else ""
    text = remedy.text[:1].upper() + remedy.text[1:].rstrip(".")
    return Blame(culprits[0], f"{text}{options}.")


def _worsened(errors: ArtifactErrors, before: ArtifactErrors) -> tuple[Culprit, ...]:
    """The culprits that are further out of line than before."""
    excess = {item.tensor: item.excess_db for item in before.layers if item.out_of_line}
    now = {item.tensor: item.excess_db for item in errors.layers}

    def worsened(culprit: Culprit) -> bool:
        then, here = excess.get(culprit.tensor), now.get(culprit.tensor)
        return then is None or here is None or here > then + _WORSE_DB

    return tuple(item for item in errors.culprits if worsened(item))


def references_of(folder: Path | None, artifact: Path, before: Path | None) -> tuple[Path, ...]:
    """What the layers of a quantized artifact can be compared with, the best first.

    Args:
        folder: The output folder; None looks beside the artifact.
        artifact: Named like ``MODEL.int8.tflite``. References are the float graph ``MODEL.onnx``,
            then the float artifact ``MODEL.tflite``, then that of the baseline.
        before: The baseline's artifact; None where it is not at hand.
    """
    place = folder or artifact.parent
    stem = artifact.name.removesuffix(artifact.suffix)
    model = stem.rpartition(".")[0] or stem
    floats = (place / f"{model}{suffix}" for suffix in (_FLOAT_SUFFIX, artifact.suffix))
    found = dict.fromkeys(path for path in floats if path.exists() and path != artifact)
    return (*found, *(() if before is None else (before,)))
