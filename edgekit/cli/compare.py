"""``edgekit compare``: artifacts of one model, layer by layer."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from edgekit.cli.options import AsJson, DataRoot, option
from edgekit.data.contract import DataSpec
from edgekit.pipeline.comparison import CompareOptions

if TYPE_CHECKING:
    from edgekit.core.layer_error import ArtifactErrors, LayerComparison, LayerError, Remedy
    from edgekit.core.metrics import Proportion

Sources = Annotated[
    list[str],
    typer.Argument(
        metavar="A B [C ...]",
        help="The reference, then artifacts: .onnx, .qdq.onnx, .tflite, .mlpackage, or a torch "
        "source such as file.py:factory.",
    ),
]
Set = Annotated[str, option(DataSpec, "set", "--data", metavar="SET")]
Split = Annotated[Literal["train", "test"], option(DataSpec, "split", "--split")]
Samples = Annotated[int, option(CompareOptions, "samples", "--samples", metavar="N", min=1)]
Top = Annotated[
    int,
    typer.Option(
        "--top", metavar="N", min=0,
        help="Layers to show, by own error; 0 shows all in order of execution.",
    ),
]  # fmt: skip
Try = Annotated[bool, option(CompareOptions, "try_remedies", "--try")]
Calibrate = Annotated[
    str | None, option(CompareOptions, "calibration", "--calibrate", metavar="SET")
]
CalibrationSamples = Annotated[
    int,
    option(CompareOptions, "calibration_samples", "--calibration-samples", metavar="N", min=1),
]
Weights = Annotated[Path | None, option(CompareOptions, "weights", "--weights", metavar="FILE")]
Inputs = Annotated[
    list[str] | None, option(CompareOptions, "inputs", "--input", metavar="NAME:SHAPE")
]
_SHOWN_UNMATCHED = 5
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def command(
    sources: Sources,
    data: Set,
    data_root: DataRoot = None,
    split: Split = "test",
    samples: Samples = 16,
    top: Top = 10,
    try_remedies: Try = False,
    calibrate: Calibrate = None,
    calibration_samples: CalibrationSamples = 128,
    weights: Weights = None,
    inputs: Inputs = None,
    as_json: AsJson = False,
) -> None:
    """Show where accuracy goes: own and inherited error of every layer, and the first culprit.

    Each artifact is compared with the first one named. Own error is that of an operator which is
    given the reference's values; what is left of the error end to end is inherited.
    """
    from edgekit.cli.options import checked
    from edgekit.cli.output import print_json
    from edgekit.cli.progress import shown_progress
    from edgekit.pipeline.comparison import compare_sources

    calibration = None
    if calibrate is not None:
        calibration = DataSpec(set=calibrate, root=data_root, split="train")
    options = checked(
        CompareOptions,
        samples=samples,
        try_remedies=try_remedies,
        calibration=calibration,
        calibration_samples=calibration_samples,
        weights=weights,
        inputs=tuple(inputs or ()),
    )
    spec = DataSpec(set=data, root=data_root, split=split)
    with shown_progress() as progress:
        result = compare_sources(sources, spec, options, progress)
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        _print(result, top)


def _print(result: LayerComparison, top: int) -> None:
    from edgekit.cli.output import Column, print_table

    figures = [Column(name, "right") for name in ("Layers", "Output [dB]", "Agreement", "Right")]
    rows = [
        (
            result.reference,
            result.reference_runtime,
            "",
            "",
            "",
            _share(result.reference_accuracy),
        ),
        *(
            (
                item.name,
                item.runtime,
                str(len(item.layers)),
                _db(item.output_sqnr_db, bool(item.outputs)),
                _share(item.agreement),
                _share(item.accuracy),
            )
            for place, item in enumerate(result.artifacts)
        ),
    ]
    title = f"{result.samples} samples of {result.dataset}; A is the reference"
    print_table([Column("Artifact"), Column("Runtime"), *figures], rows, title=title)
    if len(result.artifacts) > 1:
        _print_side_by_side(result, top)
    for item in result.artifacts:
        _print_artifact(item, top)


def _letter(place: int) -> str:
    return _LETTERS[place] if place < len(_LETTERS) else str(place)


def _print_side_by_side(result: LayerComparison, top: int) -> None:
    """Own and cumulative error of the worst tensors in all artifacts."""
    from edgekit.cli.output import Column, print_table

    found: list[dict[str, LayerError]] = [
        {layer.tensor: layer for layer in item.layers} for item in result.artifacts
    ]
    names = dict.fromkeys(layer.tensor for item in result.artifacts for layer in item.layers)
    ranked = list(names)
    if top:
        excess = {
            name: max(
                layers[name].excess_db or float("-inf") for layers in found if name in layers
            )
            for name in names
        }
        ranked = sorted(names, key=lambda name: -excess[name])[:top]
    rows = [
        (
            name,
            *(
                f"{_own(layers[name])} / {_db(layers[name].cumulative.sqnr_db)}"
                if name in layers
                else "not there"
                for layers in found
            ),
        )
        for name in ranked
    ]
    columns = [Column("Tensor")]
    columns += [Column(_letter(place + 1), "right") for place in range(len(result.artifacts))]
    print_table(columns, rows, title="Own / cumulative error [dB SQNR]; higher is better")


def _print_artifact(item: ArtifactErrors, top: int) -> None:
    from edgekit.cli.output import Column, print_table

    layers = list(item.layers)
    if top:
        places = {tensor: place for place, tensor in enumerate(item.ranking)}
        layers.sort(key=lambda layer: places.get(layer.tensor, len(places)))
        layers = layers[:top]
    names = ("#", "Own [dB]", "Margin [dB]", "End to end [dB]", "Own share", "Max abs", "Cosine",
             "LSB")  # fmt: skip
    columns = [Column("Tensor"), Column("Operators"), Column("Type")]
    columns += [Column(name, "right") for name in names]
    how = f"the {len(layers)} layers worst of themselves" if top else "in order of execution"
    print_table(columns, [_row(layer) for layer in layers], title=f"{item.name}: {how}")
    typer.echo(f"{item.name}: {item.verdict}")
    for note in item.notes:
        typer.echo(f"note: {note}")
    _print_unmatched(item)
    for remedy in item.remedies:
        typer.echo(f"remedy: {_remedy(remedy)}")
    if any(remedy.trial is not None for remedy in item.remedies):
        best = item.best_remedy
        typer.echo(f"best remedy: {_named(best) if best else 'none of those tried helps'}")
    typer.echo("")


def _row(layer: LayerError) -> tuple[str, ...]:
    own = layer.own
    return (
        f"{layer.tensor} *" if layer.out_of_line else layer.tensor,
        " + ".join(layer.operators),
        layer.dtype,
        str(layer.place),
        _own(layer),
        "" if layer.excess_db is None else f"{-layer.excess_db:+.1f}",
        _db(layer.cumulative.sqnr_db),
        "" if layer.own_share is None else f"{layer.own_share:.0%}",
        f"{(own or layer.cumulative).max_abs:.3g}",
        "" if own is None or own.cosine is None else f"{own.cosine:.5f}",
        "" if own is None or own.lsb is None else f"{own.lsb:.1f}",
    )


def _own(layer: LayerError) -> str:
    return "not run" if layer.own is None else _db(layer.own.sqnr_db)


def _db(value: float | None, known: bool = True) -> str:
    if not known:
        return "not seen"
    return "equal" if value is None else f"{value:.1f}"


def _share(value: Proportion | None) -> str:
    return "" if value is None else f"{value.hits} of {value.n}"


def _print_unmatched(item: ArtifactErrors) -> None:
    """Tensors without a counterpart, together where they have one reason."""
    reasons: dict[str, list[str]] = {}
    for tensor in item.unmatched:
        where = "only in the artifact" if tensor.side == "artifact" else "only in the reference"
        reasons.setdefault(f"{where}, {tensor.reason}", []).append(tensor.tensor)
    for reason, names in reasons.items():
        shown = ", ".join(names[:_SHOWN_UNMATCHED])
        more = (
            f" and {len(names) - _SHOWN_UNMATCHED} more" if len(names) > _SHOWN_UNMATCHED else ""
        )
        typer.echo(f"not compared ({reason}): {shown}{more}")


def _named(remedy: Remedy) -> str:
    """What to do, and the options that do it."""
    return remedy.text + (f" [{' '.join(remedy.options)}]" if remedy.options else "")


def _remedy(remedy: Remedy) -> str:
    text = _named(remedy)
    trial = remedy.trial
    if trial is None:
        return text
    if trial.problem:
        return f"{text}: cannot be tried: {trial.problem}"
    assert trial.before is not None
    assert trial.after is not None
    result = "helps" if trial.helps else "does not help"
    parts = [f"outputs {_db(trial.before.sqnr_db)} -> {_db(trial.after.sqnr_db)} dB"]
    if trial.before.own_sqnr_db is not None:
        parts.append(
            f"own error {_db(trial.before.own_sqnr_db)} -> {_db(trial.after.own_sqnr_db)} dB"
        )
    for name in ("agreement", "accuracy"):
        before, after = getattr(trial.before, name), getattr(trial.after, name)
        if before is not None and after is not None:
            what = "right" if name == "accuracy" else "agree"
            parts.append(f"{what} {_share(before)} -> {_share(after)}")
    if trial.calibration:
        parts.append(f"calibrated by {trial.calibration}")
    return f"{text}: {result} ({', '.join(parts)})"
