"""``edgekit targets``: what can be made, run and measured on this machine."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgekit.cli.options import AsJson

if TYPE_CHECKING:
    from edgekit.core.metrics import Unavailable
    from edgekit.core.target import Target


def command(
    as_json: AsJson = False,
) -> None:
    """List the targets and what this machine can do with each, or the reason why not."""
    from edgekit.cli.output import Column, print_json, print_table
    from edgekit.pipeline.registry import all_targets

    targets = all_targets()
    if as_json:
        print_json([_as_json(target) for target in targets])
        return
    columns = (
        Column("Target"),
        Column("Format"),
        Column("Precisions"),
        Column("Engines"),
        Column("Convertible here"),
        Column("Runnable here"),
        Column("Measurable here"),
    )
    print_table(columns, [_row(target) for target in targets])


def _row(target: Target) -> tuple[str, ...]:
    info, can = target.info, target.capabilities()
    return (
        info.name,
        f"{info.title} ({info.suffix})",
        ", ".join(info.precisions),
        ", ".join(info.engines),
        _answer(can.convertible),
        _answer(can.runnable),
        _answer(can.measurable),
    )


def _answer(unavailable: Unavailable | None) -> str:
    return "yes" if unavailable is None else f"no: {unavailable.reason}"


def _as_json(target: Target) -> dict[str, Any]:
    info, can = target.info, target.capabilities()
    answers = {
        "convertible": can.convertible,
        "runnable": can.runnable,
        "measurable": can.measurable,
    }
    return {
        **info.model_dump(mode="json"),
        **{
            name: {"here": answer is None, "reason": "" if answer is None else answer.reason}
            for name, answer in answers.items()
        },
    }
