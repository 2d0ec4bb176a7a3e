"""``edgekit train``: one stage of a pipeline as a command."""

from edgekit.cli.model_command import stage_command
from edgekit.training.config import TrainConfig

_HELP = """Train a torch module on a labelled data set, or an ONNX model further.

NAME.onnx is the trained graph, and NAME.safetensors the weights of a module; the report has the
curve. With --store an interrupted training goes on where it was."""

command = stage_command("train", TrainConfig, "Training", _HELP)
