"""Entry point of the command line.

Nothing here imports a framework, pydantic or the other parts of edgekit: ``edgekit --help`` and
shell completion must answer at once. A command's module is imported when it is called.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated

import typer

import edgekit
from edgekit.cli.interrupts import watch_interrupts
from edgekit.cli.lazy_group import CommandEntry, LazyGroup, add_commands

COMMANDS: dict[str, CommandEntry] = {
    "convert": CommandEntry(
        "edgekit.cli.convert", "Convert a model and check every artifact against its source."
    ),
    "quantize": CommandEntry(
        "edgekit.cli.quantize", "Quantize a model, fine-tune it, and compare the accuracy."
    ),
    "train": CommandEntry("edgekit.cli.train", "Train a torch module, or an ONNX model further."),
    "prune": CommandEntry(
        "edgekit.cli.prune", "Remove channels of a model, and compare it with its parent."
    ),
    "sparsify": CommandEntry(
        "edgekit.cli.sparsify", "Make single weights of a model 0, and compare it with its parent."
    ),
    "distill": CommandEntry(
        "edgekit.cli.distill", "Train a model on by a teacher, with labels or without."
    ),
    "run": CommandEntry("edgekit.cli.run", "Run the pipeline that an edgekit.toml describes."),
    "history": CommandEntry(
        "edgekit.cli.history", "Show recorded runs over time, each beside the run before."
    ),
    "report": CommandEntry(
        "edgekit.cli.report", "Write the HTML report of a run anew, or compare several runs."
    ),
    "targets": CommandEntry(
        "edgekit.cli.targets", "List the targets and what this machine can do with each."
    ),
    "inspect": CommandEntry(
        "edgekit.cli.inspect", "Show operators, sizes, inputs and outputs of a model file."
    ),
    "eval": CommandEntry("edgekit.cli.eval", "Measure the accuracy of an artifact on a data set."),
    "verify": CommandEntry(
        "edgekit.cli.verify", "Compare a quantized artifact with its QDQ graph, tensor by tensor."
    ),
    "compare": CommandEntry(
        "edgekit.cli.compare", "Compare artifacts layer by layer, and name the first culprit."
    ),
    "bench": CommandEntry("edgekit.cli.bench", "Measure latency of one artifact, or of two."),
    "profile": CommandEntry(
        "edgekit.cli.profile", "Show where the time goes, operator by operator."
    ),
    "check": CommandEntry(
        "edgekit.cli.check", "Check artifacts against a baseline; exit code 4 on a regression."
    ),
    "compress": CommandEntry(
        "edgekit.cli.compress", "Store the weights of a Core ML package as palettes or zeros."
    ),
    "doctor": CommandEntry("edgekit.cli.doctor", "Check this machine and its tools."),
    "schema": CommandEntry("edgekit.cli.schema", "Print the JSON Schema of edgekit.toml."),
}

EPILOG = (
    "Exit codes: 0 done, 1 internal error, 2 wrong usage or input, 3 model not supported, "
    "4 a check failed, 5 missing tool, 130 interrupted."
)

app = typer.Typer(
    name="edgekit",
    cls=LazyGroup,
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=EPILOG,
)
add_commands(app, COMMANDS)


def _print_version(value: bool) -> None:
    if value:
        typer.echo(f"edgekit {edgekit.__version__}")
        raise typer.Exit


@app.callback()
def edgekit_options(
    debug: Annotated[
        bool, typer.Option("--debug", help="Show the traceback of an error (any position).")
    ] = False,
    version: Annotated[
        bool,
        typer.Option(
            "--version", callback=_print_version, is_eager=True, help="Show the version."
        ),
    ] = False,
) -> None:
    """Take a PyTorch or ONNX model to a verified, measured edge artifact."""


def main() -> None:
    """Runs the command line and ends the process with its exit code."""
    watch_interrupts()
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        _share_trainings()
    app(prog_name="edgekit")


def _share_trainings() -> None:
    """Takes the part in the run that torchrun gave this process."""
    from edgekit.pipeline import parallel

    if parallel.is_follower():
        sys.exit(parallel.follow())
    parallel.lead()
