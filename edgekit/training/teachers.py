"""Teachers of a distillation: a graph, or an artifact in its own runtime."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from edgekit.core.artifact import Artifact
from edgekit.core.metrics import Unavailable
from edgekit.core.signature import ModelSignature, TensorSpec
from edgekit.core.target import RuntimeConfig, Session, Target
from edgekit.data.model_inputs import fixed_batch
from edgekit.errors import ConfigError, InputError, MissingToolError
from edgekit.graph.torch_twin import TorchTwin
from edgekit.measure.class_scores import class_output
from edgekit.training.objectives import Teacher, module_teacher
from edgekit.training.qat.batching import BatchRunner, batch_runner
from edgekit.training.qat.losses import SMALLEST_PROBABILITY
from edgekit.training.qat.task import class_scores_of
from edgekit.training.qat.teacher import teacher_twin
from edgekit.training.samples import Samples
from edgekit.training.twin_student import TwinStudent


@dataclass(frozen=True, slots=True)
class NamedTeacher:
    """A teacher with what it is called in the report.

    Attributes:
        name: For example ``"model.onnx (float graph)"``.
        outputs: All outputs.
        scores: Class scores before softmax alone.
        twin: The graph in its torch form; None for an artifact.
        runner: Runs it on any number of samples.
    """

    name: str
    outputs: Teacher
    scores: Teacher
    twin: TorchTwin | None = None
    runner: BatchRunner | None = None


def open_teacher(
    graph: Artifact | None,
    artifact: Path | None,
    target: Target | None,
    student: ModelSignature,
    samples: Samples,
) -> NamedTeacher:
    """Opens a teacher and compares its outputs with the student's.

    Args:
        graph: A canonical graph, torch or ONNX where it came from.
        artifact: A file of a target instead.
        target: The target that runs ``artifact``.
        student: Inputs and outputs that the teacher has to have too.
        samples: Some of them tell whether a graph may be run with any batch.

    Raises:
        ConfigError: If neither is given.
        InputError: If its inputs or outputs are not the student's.
        MissingToolError: If its runtime cannot run here.
    """
    if artifact is not None:
        return _from_artifact(artifact, target, student)
    if graph is None:
        raise ConfigError(
            "Distillation needs a teacher: the graph before pruning, or one that is named "
            "(distill.teacher, --teacher)"
        )
    from edgekit.graph.io import load_onnx

    twin = teacher_twin(load_onnx(graph.path))
    _require_alike(twin.signature, student)
    runner = batch_runner((twin,), samples)
    name = "" if graph.metadata is None else graph.metadata.name
    return NamedTeacher(
        f"{name or 'teacher'} (float graph)",
        module_teacher(TwinStudent(twin, runner, classifies=False)),
        module_teacher(TwinStudent(twin, runner, classifies=True)),
        twin,
        runner,
    )


def _from_artifact(path: Path, target: Target | None, student: ModelSignature) -> NamedTeacher:
    if target is None:
        raise ConfigError(f"{path} is no graph, and no target runs it")
    session = target.load(path, RuntimeConfig())
    if isinstance(session, Unavailable):
        raise MissingToolError(session.reason)
    _require_alike(session.signature, student)
    run = _SessionTeacher(session)
    output = session.signature.outputs.index(class_output(session.signature))
    return NamedTeacher(
        f"{path.name} ({session.runtime})",
        run,
        lambda inputs: (_as_scores(class_scores_of(run(inputs)[output])),),
    )


class _SessionTeacher:
    """A loaded artifact, run as often as its own batch demands."""

    def __init__(self, session: Session) -> None:
        self._session = session
        self._runner = BatchRunner(fixed_batch(session.signature))

    def __call__(self, inputs: Tensor) -> tuple[Tensor, ...]:
        """See `edgekit.training.objectives.Teacher`."""
        (spec,) = self._session.signature.inputs
        parts: list[list[Tensor]] = []
        for piece in torch.split(inputs.cpu(), self._runner.piece(len(inputs))):
            rows = len(piece)
            missing = (self._runner.fixed or rows) - rows
            filled = torch.cat([piece, piece[-1:].expand(missing, *piece.shape[1:])])
            found = self._session.run({spec.name: filled.numpy().astype(spec.dtype)})
            names = [item.name for item in self._session.signature.outputs]
            parts.append([_tensor(found[name])[:rows] for name in names])
        columns = zip(*parts, strict=True)
        return tuple(torch.cat(column).to(inputs.device) for column in columns)


def _tensor(array: np.ndarray[tuple[int, ...], np.dtype[np.generic]]) -> Tensor:
    return torch.from_numpy(np.array(array))


def _as_scores(scores: Tensor) -> Tensor:
    """Scores before softmax; probabilities, which add up to 1, as their logarithm."""
    sums = scores.sum(dim=1)
    probable = bool((scores >= 0).all()) and bool(((sums - 1).abs() < 0.02).all())
    return torch.log(scores.clamp(min=SMALLEST_PROBABILITY)) if probable else scores


def _require_alike(teacher: ModelSignature, student: ModelSignature) -> None:
    for what, theirs, ours in (
        ("inputs", teacher.inputs, student.inputs),
        ("outputs", teacher.outputs, student.outputs),
    ):
        if [_shape(spec) for spec in theirs] != [_shape(spec) for spec in ours]:
            raise InputError(
                f"The teacher's {what} ({_listed(theirs)}) are not the student's "
                f"({_listed(ours)}); but for the batch they have to be the same. Choose a teacher "
                "that was made for the same data and classes"
            )


def _shape(spec: TensorSpec) -> tuple[int | str, ...]:
    return spec.shape[1:]


def _listed(specs: tuple[TensorSpec, ...]) -> str:
    return ", ".join(map(str, specs))
