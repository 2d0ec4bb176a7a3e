"""Structural checks of a .tflite file after lowering, before its outputs are compared.

A wrong structure is found here by name; running the file would show it as a failed load at
best (an operator without producer), or not at all (a custom operator of a plug-in runtime).
"""

from __future__ import annotations

from pathlib import Path

from edgekit.core.model_base import FrozenModel
from edgekit.core.target import RuntimeConfig
from edgekit.errors import UnsupportedError, VerificationError
from edgekit.measure.feeds import random_feeds
from edgekit.targets.tflite.model_file import FileGraph, ModelFile, read_model_file
from edgekit.targets.tflite.operator_costs import Transposes, count_transposes
from edgekit.targets.tflite.runtime import LiteRTSession, runtime_missing

_SEED = 0


class StructureReport(FrozenModel):
    """What the structure of a file shows.

    Attributes:
        operators: Number of operators of the main graph.
        transposes: TRANSPOSE operators.
        transposes_between_convolutions: Those between two convolutions.
        layout_transposes_between_convolutions: Those of them that move channels from the
            last place to the second or back; a channel shuffle is not among them.
        delegate_partitions: Parts of the graph that XNNPACK runs; None when LiteRT is not
            installed.
        delegated_operators: Operators inside them; None as above.
        batch_problem: Why a file with a dynamic batch runs at batch 1 only; empty when it
            runs at 2 as well, has a fixed batch, or LiteRT is not installed.
    """

    operators: int
    transposes: int
    transposes_between_convolutions: int
    layout_transposes_between_convolutions: int
    delegate_partitions: int | None = None
    delegated_operators: int | None = None
    batch_problem: str = ""

    def notes(self) -> tuple[str, ...]:
        """One sentence for each thing worth telling."""
        notes = []
        if self.layout_transposes_between_convolutions:
            notes.append(
                f"{self.layout_transposes_between_convolutions} TRANSPOSE operators change the "
                "layout between convolutions; they cost time and compute nothing."
            )
        shuffles = (
            self.transposes_between_convolutions - self.layout_transposes_between_convolutions
        )
        if shuffles:
            notes.append(
                f"{shuffles} TRANSPOSE operators between convolutions are part of the model "
                "(as in a channel shuffle or attention)."
            )
        if self.batch_problem:
            notes.append(f"The batch is dynamic, but batch 2 fails: {self.batch_problem}")
        if self.delegate_partitions is None:
            notes.append("The share that XNNPACK runs is not known: LiteRT is not installed.")
        elif self.delegated_operators != self.operators or self.delegate_partitions != 1:
            notes.append(
                f"XNNPACK runs {self.delegated_operators} of {self.operators} operators in "
                f"{self.delegate_partitions} partitions; the others run on builtin kernels."
            )
        return tuple(notes)


def verify_structure(path: Path) -> StructureReport:
    """Checks a .tflite file that edgekit is about to hand out.

    Raises:
        VerificationError: If it has custom operators, or a tensor is read that nothing has
            written before; all of them are listed.
        InputError: If the file is missing or damaged.
        UnsupportedError: If LiteRT is installed and refuses the file.
    """
    file = read_model_file(path)
    problems = [*_custom_operators(file), *_unwritten_tensors(file)]
    if problems:
        lines = "\n".join(f"  - {problem}" for problem in problems)
        raise VerificationError(f"{file.name} is not a valid model for LiteRT:\n{lines}")
    transposes = count_transposes(file)
    if runtime_missing():
        return _report(file.main, transposes)
    session = LiteRTSession(path, RuntimeConfig())
    try:
        found = session.delegation
        batch_problem = _batch_problem(session)
    finally:
        session.close()
    return _report(file.main, transposes).model_copy(
        update={
            "delegate_partitions": found.partitions,
            "delegated_operators": found.delegated,
            "batch_problem": batch_problem,
        }
    )


def _batch_problem(session: LiteRTSession) -> str:
    """Runs a file with dynamic dims once with all of them at 2."""
    specs = (*session.signature.inputs, *session.signature.outputs)
    if not any(isinstance(size, str) for spec in specs for size in spec.shape):
        return ""
    try:
        session.run(random_feeds(session.signature, _SEED, batch=2))
    except UnsupportedError as error:
        return str(error)
    return ""


def _report(graph: FileGraph, transposes: Transposes) -> StructureReport:
    return StructureReport(
        operators=len(graph.operators),
        transposes=transposes.total,
        transposes_between_convolutions=transposes.between_convolutions,
        layout_transposes_between_convolutions=transposes.of_layout,
    )


def _custom_operators(file: ModelFile) -> list[str]:
    return [
        f"operator {place} is the custom operator {op.name!r}, which only a runtime with a "
        "plug-in for it can run"
        for graph in file.subgraphs
        for place, op in enumerate(graph.operators)
        if op.custom
    ]


def _unwritten_tensors(file: ModelFile) -> list[str]:
    problems = []
    for graph in file.subgraphs:
        written = set(graph.inputs)
        written |= {
            index
            for index, tensor in enumerate(graph.tensors)
            if tensor.constant or tensor.variable or 0 in tensor.shape
        }
        for place, op in enumerate(graph.operators):
            problems += [
                f"operator {place} ({op.name}) reads tensor {index} "
                f"({graph.tensors[index].name!r}), which nothing has written before"
                for index in op.inputs
                if index >= 0 and index not in written
            ]
            written.update(op.outputs)
        problems += [
            f"output {graph.tensors[index].name!r} (tensor {index}) is written by nothing"
            for index in graph.outputs
            if index not in written
        ]
    return problems
