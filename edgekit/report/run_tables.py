"""Tables of how it came about: notes, environment, provenance."""

from __future__ import annotations

from edgekit.core.run_summary import ArtifactSummary, RunSummary
from edgekit.report.figures import format_seconds
from edgekit.report.measurement_tables import label_of
from edgekit.report.tables import Cell, Column, Table, facts, texts

_SHORT_DIGEST = 12


def note_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Reasons kept by the stages, the warnings first."""
    concerned = [("run", note) for note in summary.notes]
    for result in summary.targets:
        concerned += [(label_of(result), note) for note in result.notes]
    concerned.sort(key=lambda item: item[1].level != "warning")  # stable: order kept within
    rows = tuple(
        (
            Cell(note.level, tone="warn" if note.level == "warning" else "muted"),
            Cell(part),
            Cell(note.where),
            Cell(note.text),
        )
        for part, note in concerned
    )
    columns = (Column("Level"), Column("Part"), Column("Where"), Column("Reason"))
    return (Table(columns, rows),) if rows else ()


def environment_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Machine and versions."""
    machine = summary.environment
    rows = [
        ("Device", machine.device),
        ("Logical processors", str(machine.cpu_count)),
        ("System", machine.system),
        ("Python", machine.python),
        ("edgekit", summary.edgekit_version),
        ("Seed", str(summary.seed)),
    ]
    rows += sorted(machine.tools.items())
    return (facts(rows),)


def provenance_tables(summary: RunSummary) -> tuple[Table, ...]:
    """Sources, artifacts and steps with their digests."""
    sources = tuple(texts(item.role, item.name, item.digest) for item in summary.sources)
    files = tuple(
        texts(result.artifact.file_name, str(result.artifact.size_bytes), result.artifact.digest)
        for result in summary.targets
        if isinstance(result.artifact, ArtifactSummary)
    )
    steps = tuple(
        texts(
            step.name,
            "reused" if step.reused else "run",
            format_seconds(step.duration_s),
            step.key[:_SHORT_DIGEST],
        )
        for step in summary.steps
    )
    made = (
        Table((Column("Role"), Column("File"), Column("sha256")), sources, title="Sources"),
        Table(
            (Column("File"), Column("Bytes", figures=True), Column("sha256")),
            files,
            title="Artifacts",
        ),
        Table(
            (Column("Step"), Column("State"), Column("Duration", figures=True), Column("Key")),
            steps,
            title="Steps",
            caption="The duration is that of the work, also where its result was reused.",
        ),
    )
    return tuple(table for table in made if table.rows)
