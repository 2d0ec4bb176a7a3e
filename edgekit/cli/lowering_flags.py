"""How targets are lowered to, as options of ``convert`` and ``quantize``."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from edgekit.cli.options import option
from edgekit.core.lowering_choices import LoweringChoices
from edgekit.core.precision import FloatCompute, WeightCompute

LOWERING = "Lowering"


def _choice(field: str, metavar: str | None = None) -> Any:
    """The option ``--field`` of a choice."""
    name = f"--{field.replace('_', '-')}"
    return option(LoweringChoices, field, name, metavar=metavar, panel=LOWERING)


Engine = Annotated[str | None, _choice("engine", "NAME")]
Io = Annotated[Literal["float32", "int8", "uint8"], _choice("io")]
IntegerOnly = Annotated[bool, _choice("integer_only")]
WeightComputing = Annotated[WeightCompute | None, _choice("weight_compute")]
FloatComputing = Annotated[FloatCompute | None, _choice("compute")]
DeploymentTarget = Annotated[str | None, _choice("deployment_target", "NAME")]
ImageInput = Annotated[bool, _choice("image_input")]
BatchSizing = Annotated[str | None, _choice("batch_sizes", "SIZES")]
