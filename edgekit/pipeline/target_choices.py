"""How a project's targets are lowered to, and what that demands of the quantized graph."""

from __future__ import annotations

from collections.abc import Mapping

from edgekit.core.precision import Precision
from edgekit.core.quant import ScaleFormat
from edgekit.core.target import LowerConfig, TargetInfo
from edgekit.errors import ConfigError
from edgekit.pipeline.project import TargetSection


def lowering_config(section: TargetSection, precision: Precision, info: TargetInfo) -> LowerConfig:
    """How a target is lowered to in one numeric form, with nothing left open.

    Raises:
        ConfigError: See `LowerConfig.settled_for`.
    """
    choices = section.concerning(precision)
    return LowerConfig(precision=precision, **choices.model_dump()).settled_for(info)


def settled_scale_format(
    given: ScaleFormat | None,
    scheme: Precision,
    sections: Mapping[str, TargetSection],
    infos: Mapping[str, TargetInfo],
) -> tuple[ScaleFormat, str]:
    """The number format of the scales of a graph, and the reason where it is worth a note.

    There is one graph for all targets, so one that computes in float16 decides for all: float32
    represents its scales as well.

    Args:
        given: What the project asks for; None leaves it to the targets.
        scheme: Numeric form of the graph.
        sections: Targets of the project, by name.
        infos: Facts about those of them that exist.
    """
    halves = [
        name
        for name, info in infos.items()
        if scheme in sections[name].precision
        and _computes_in_float16(sections[name], scheme, info)
    ]
    named = ", ".join(halves)
    if given is not None:
        rounds = bool(halves) and given == "float32"
        told = (
            f"scales are float32, as quantize.scale_format says; {named} computes in float16, "
            "which does not represent all of them"
        )
        return given, told if rounds else ""
    if not halves:
        return "float32", ""
    return "float16", (
        f"all scales are numbers that float16 represents, since {named} computes in float16; "
        "quantize.scale_format says otherwise where that is not wanted"
    )


def _computes_in_float16(section: TargetSection, scheme: Precision, info: TargetInfo) -> bool:
    try:
        return lowering_config(section, scheme, info).compute == "float16"
    except ConfigError:
        return False  # told of where the target itself is planned
