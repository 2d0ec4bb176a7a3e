"""Tables of what the model is: facts, signature, operators, training."""

from __future__ import annotations

from edgekit.core.log_mel import LogMel
from edgekit.core.metadata import AnyPreprocessing
from edgekit.core.metrics import Unavailable
from edgekit.core.run_summary import ArtifactSummary, GraphSummary, RunSummary, TrainingSummary
from edgekit.core.signature import TensorSpec
from edgekit.report.figures import format_count, format_share
from edgekit.report.measurement_tables import label_of
from edgekit.report.tables import Column, Table, facts, not_measured, texts


def model_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Name, size, preprocessing, and the inputs and outputs."""
    rows = [("Name", summary.metadata.name)]
    optional = (
        ("Source", summary.metadata.source),
        ("Version", summary.metadata.version),
        ("Author", summary.metadata.author),
        ("Licence", summary.metadata.license),
        ("Classes", _labels(summary.metadata.labels)),
    )
    rows += [row for row in optional if row[1]]
    graph = summary.source_graph
    if isinstance(graph, GraphSummary):
        rows.append(("Parameters", f"{graph.parameters:,}"))
        macs = (
            "not counted: a shape is unknown" if graph.macs is None else format_count(graph.macs)
        )
        rows.append(("Multiply-accumulates", macs))
    else:
        rows.append(("Parameters", f"not counted: {graph.reason}"))
    rows.append(("Preprocessing", describe_preprocessing(summary.metadata.preprocessing)))
    columns = (Column("Name"), Column("Direction"), Column("Type"), Column("Shape"))
    specs = [("input", spec) for spec in summary.signature.inputs]
    specs += [("output", spec) for spec in summary.signature.outputs]
    signature = tuple(
        texts(spec.name, direction, spec.dtype, _shape(spec)) for direction, spec in specs
    )
    return (facts(rows), Table(columns, signature, title="Inputs and outputs"))


def operator_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Operators by type, of the canonical graph and of every artifact."""
    tables = [_operator_table("Canonical graph", "", summary.source_graph)]
    for result in summary.targets:
        if isinstance(result.artifact, ArtifactSummary):
            name = result.artifact.file_name
            tables.append(_operator_table(label_of(result), name, result.artifact.graph))
    return tuple(tables)


def _operator_table(title: str, name: str, graph: GraphSummary | Unavailable) -> Table:
    columns = (Column("Operator"), Column("Count", figures=True))
    if isinstance(graph, Unavailable):
        return Table(columns, ((not_measured(graph, span=2),),), title=title)
    rows = tuple(texts(item.op, str(item.count)) for item in graph.ops)
    parts = [name] if name else []
    parts.append(f"{graph.float_ops} on floating point, {graph.integer_ops} on integers")
    return Table(columns, rows, caption="; ".join(parts), title=title)


def detail_tables(summary: RunSummary) -> tuple[Table, ...]:
    """What the inspection found that is particular to each file's format."""
    graphs = [("Canonical graph", summary.source_graph)]
    graphs += [
        (label_of(result), result.artifact.graph)
        for result in summary.targets
        if isinstance(result.artifact, ArtifactSummary)
    ]
    return tuple(
        facts([(key.replace("_", " "), text) for key, text in graph.details.items()], title=title)
        for title, graph in graphs
        if isinstance(graph, GraphSummary) and graph.details
    )


def training_tables(summary: RunSummary) -> tuple[Table, ...]:
    """The curves of all trainings of float networks, one row an epoch."""
    first = () if summary.training is None else (summary.training,)
    return tuple(_course(item) for item in (*first, *summary.further_training))


def _course(training: TrainingSummary) -> Table:
    rows = tuple(
        texts(
            str(point.epoch),
            f"{point.loss:.4f}",
            "–" if point.val_loss is None else f"{point.val_loss:.4f}",
            *(
                "–" if share is None else format_share(share)
                for share in (point.train_accuracy, point.val_accuracy)
            ),
            f"{point.lr:.2e}",
        )
        for point in training.curve
    )
    names = (
        "Epoch", "Loss", "Validation loss", "Training accuracy", "Validation accuracy",
        "Learning rate",
    )  # fmt: skip
    caption = (
        f"{training.parameters:,} parameters on {training.dataset}, "
        f"{len(training.curve)} epochs, optimizer {training.optimizer}."
    )
    if training.teacher:
        learned = "its outputs alone" if training.task == "imitate" else "its scores and labels"
        caption += f" Learned from {training.teacher}: {learned}."
    if training.kept_epoch is not None:
        caption += f" The weights after epoch {training.kept_epoch} are kept."
    columns = tuple(Column(name, figures=True) for name in names)
    return Table(columns, rows, caption=caption, title=training.step)


def describe_preprocessing(preprocessing: AnyPreprocessing | None) -> str:
    """The declared preprocessing as a sentence."""
    if preprocessing is None:
        return "none declared: the input is fed as it is"
    if isinstance(preprocessing, LogMel):
        return _describe_log_mel(preprocessing)
    parts = []
    if preprocessing.size is not None:
        height, width = preprocessing.size
        crop = f"centre crop of {100 * preprocessing.crop_fraction:.1f} %"
        how = crop if preprocessing.resize == "crop" else "stretch"
        parts.append(f"resize to {height}×{width} ({how}, {preprocessing.interpolation})")
    parts.append(preprocessing.channels)
    mean, std = (
        ", ".join(f"{value:g}" for value in values)
        for values in (preprocessing.mean, preprocessing.std)
    )
    parts.append(f"(pixel × {preprocessing.scale:.6g} − [{mean}]) / [{std}]")
    return "; ".join(parts)


def _describe_log_mel(declared: LogMel) -> str:
    rate = declared.sample_rate_hz
    clip, frame, step = (
        _samples(count, rate)
        for count in (declared.clip_samples, declared.frame_samples, declared.step_samples)
    )
    band = f"{declared.low_hz:g} to {declared.high_hz:g} Hz"
    parts = (
        f"clip of {clip} at {rate} Hz, cut or filled at both ends",
        f"{declared.frames} frames of {frame} every {step}",
        f"FFT of {declared.fft_size}",
        f"{declared.mel_bins} mel bins (HTK scale) from {band}",
        f"(ln(energy + {declared.log_offset:g}) − [{declared.mean:g}]) / [{declared.std:g}]",
    )
    return "; ".join(parts)


def _samples(count: int, rate_hz: int) -> str:
    return f"{count} samples ({1000 * count / rate_hz:g} ms)"


def _labels(labels: tuple[str, ...]) -> str:
    if not labels:
        return ""
    shown = ", ".join(labels[:10])
    return f"{len(labels)}: {shown}" + (", ..." if len(labels) > 10 else "")


def _shape(spec: TensorSpec) -> str:
    stored = ""
    if spec.stored_axes is not None:
        stored = f" (stored as {' × '.join(map(str, spec.stored_shape))})"
    return " × ".join(map(str, spec.shape)) + stored
