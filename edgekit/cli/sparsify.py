"""``edgekit sparsify``: one stage of a pipeline as a command."""

from edgekit.cli.model_command import stage_command
from edgekit.training.pruning.sparsify_options import SparsifyOptions

_HELP = """Make the smallest weights of a model 0, torch or ONNX.

NAME.onnx is the graph with its zeros; the report says how many each layer has, which layers stay
dense and why, what the zeros gain on each target, and what they cost in accuracy on the same
samples."""

command = stage_command("sparsify", SparsifyOptions, "Sparsity", _HELP)
