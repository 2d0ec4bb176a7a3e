"""Choices of lowering that only some targets offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, get_args

from pydantic import Field, field_validator

from edgekit.core.batch_sizes import BatchSizes
from edgekit.core.model_base import FrozenModel
from edgekit.core.precision import (
    INTEGER_ACTIVATIONS,
    WEIGHTS_ONLY,
    FloatCompute,
    IoType,
    Precision,
    WeightCompute,
)
from edgekit.core.toml_config import nearest_name
from edgekit.errors import ConfigError

if TYPE_CHECKING:
    from edgekit.core.target import TargetInfo


class LoweringChoices(FrozenModel):
    """What can be chosen where a target offers it; `TargetInfo` says which do.

    None stands for the target's own way, which is the first that it names.
    """

    engine: str | None = Field(
        None,
        description="Lowering engine, for targets that offer several: edgekit or onnx2tf; the "
        "target's own by default.",
    )
    io: IoType = Field(
        "float32",
        description="Type of the inputs and outputs of int8 artifacts, for targets that offer it: "
        "float32, int8 or uint8; the last two leave the conversion to the application.",
    )
    integer_only: bool = Field(
        False,
        description="Compute on integers alone, for accelerators without floating point: also "
        "where float kernels are faster; an operator without an integer form is an error.",
    )
    weight_compute: WeightCompute | None = Field(
        None,
        description="How an artifact with integer weights alone computes, for targets that offer "
        "it: dynamic rounds activations to 8 bits as they come where that is faster, exact "
        "restores the weights to float32; the target's own way by default.",
    )
    compute: FloatCompute | None = Field(
        None,
        description="Precision in which an artifact computes where it computes in floating point, "
        "for targets that offer it: float32 or float16; the target's own by default.",
    )
    deployment_target: str | None = Field(
        None,
        description="Oldest system that has to load the artifact, such as iOS17, for targets that "
        "offer it; the target's own by default.",
    )
    image_input: bool = Field(
        False,
        description="Take images instead of tensors, with the preprocessing inside the artifact, "
        "for targets that offer it.",
    )
    batch_sizes: str | None = Field(
        None,
        description="Sizes of a batch that the graph leaves open, for targets that offer it: a "
        "range such as 1..16, or a list such as 1,4,8; the target's own range by default.",
    )

    @field_validator("batch_sizes")
    @classmethod
    def _check_batch_sizes(cls, value: str | None) -> str | None:
        if value is not None:
            try:
                BatchSizes.parse(value)
            except ConfigError as error:
                raise ValueError(str(error)) from error
        return value

    def choices(self) -> LoweringChoices:
        """The choices alone, of a model that has more fields."""
        return LoweringChoices.model_validate(
            {name: getattr(self, name) for name in LoweringChoices.model_fields}
        )

    def concerning(self, precision: Precision) -> LoweringChoices:
        """The choices that mean something to a numeric form; the others as by default."""
        return LoweringChoices.model_validate(
            {
                name: getattr(self, name)
                for name in self._given()
                if precision in self._precisions_of(name)
            }
        )

    def _given(self) -> tuple[str, ...]:
        """Names of the choices that are not left at their default."""
        fields = LoweringChoices.model_fields
        return tuple(name for name in fields if getattr(self, name) != fields[name].default)

    def _precisions_of(self, name: str) -> tuple[Precision, ...]:
        """Numeric forms to which the choice called ``name`` means something."""
        if name == "compute" and self.compute == "float16":
            return tuple(item for item in get_args(Precision) if item != "float32")
        return _PRECISIONS.get(name, get_args(Precision))

    def problems(
        self, info: TargetInfo, precisions: Sequence[Precision]
    ) -> tuple[ChoiceProblem, ...]:
        """Choices that a target does not offer, or that mean nothing to what is made.

        Args:
            info: The target.
            precisions: Numeric forms that are made.
        """
        found = []
        for name in self._given():
            belongs = self._precisions_of(name)
            text = self._unoffered(name, info)
            if not text and not set(belongs) & set(precisions):
                text = _MISPLACED.get(name, "{value} belongs to {forms}, not {asked}").format(
                    value=getattr(self, name),
                    forms=" and ".join(belongs),
                    asked=" and ".join(precisions),
                )
            if text:
                found.append(ChoiceProblem(name, text))
        return tuple(found)

    def _unoffered(self, name: str, info: TargetInfo) -> str:
        """Why the target cannot serve a choice; empty where it can."""
        if name == "engine" and self.engine is not None and self.engine not in info.engines:
            nearest = nearest_name(self.engine, info.engines)
            known = ", ".join(info.engines)
            return f"there is no engine {self.engine!r}.{nearest} Known: {known}"
        if name == "integer_only" and not info.integer_only:
            return "the target does not promise to compute so"
        if name == "image_input" and not info.image_input:
            return "the target takes tensors alone"
        if name == "batch_sizes" and not info.batch_sizes:
            return "the target leaves an open batch open"
        if name not in _OFFERS:
            return ""
        value, offered = getattr(self, name), getattr(info, _OFFERS[name])
        if not offered:
            return f"{value} is not offered; the target leaves no choice here"
        return (
            "" if value in offered else f"{value} is not offered; accepted: {', '.join(offered)}"
        )


_OFFERS = {
    "io": "io_types",
    "weight_compute": "weight_computes",
    "compute": "computes",
    "deployment_target": "deployment_targets",
}
"""Field of `TargetInfo` that lists what may be chosen."""

_PRECISIONS: dict[str, tuple[Precision, ...]] = {
    "io": ("int8",),
    "integer_only": INTEGER_ACTIVATIONS,
    "weight_compute": WEIGHTS_ONLY,
}
"""Numeric forms that a choice means something to, where not to all."""

_MISPLACED = {
    "io": "{value} inputs and outputs belong to precision {forms}, whose activations are 8-bit "
    "integers; an artifact in {asked} takes float32",
    "integer_only": "it belongs to {forms}, not {asked}",
    "compute": "{value} belongs to {forms}; an artifact in {asked} computes in float32",
}


@dataclass(frozen=True, slots=True)
class ChoiceProblem:
    """A choice that cannot be served.

    Attributes:
        choice: Field of `LoweringChoices`.
        text: Why, and what is offered.
    """

    choice: str
    text: str
