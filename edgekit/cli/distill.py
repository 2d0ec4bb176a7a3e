"""``edgekit distill``: one stage of a pipeline as a command."""

from edgekit.cli.model_command import stage_command
from edgekit.training.distillation import DistillOptions

_HELP = """Train a model on by a teacher: labels and the teacher's scores, or its outputs alone.

The model is torch or ONNX, the teacher torch, ONNX or an artifact with the same outputs. NAME.onnx
is the trained graph; the report has the curve, and accuracy beside that of the graph before.
"""

command = stage_command("distill", DistillOptions, "Training", _HELP)
