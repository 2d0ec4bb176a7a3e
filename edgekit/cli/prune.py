"""``edgekit prune``: one stage of a pipeline as a command."""

from edgekit.cli.model_command import stage_command
from edgekit.training.pruning.stage_options import PruneOptions

_HELP = """Remove the least important channels of a model, torch or ONNX.

NAME.onnx is the smaller graph; the report says what went, what could not go and why, and what it
cost in accuracy on the same samples."""

command = stage_command("prune", PruneOptions, "Pruning", _HELP)
