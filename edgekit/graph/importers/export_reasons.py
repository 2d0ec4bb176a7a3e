"""Why torch could not export a module, in one sentence out of its long messages."""

from __future__ import annotations

import contextlib
import re

import torch

from edgekit.graph.importers.quiet import quiet


def translation_reason(error: BaseException, program: torch.export.ExportedProgram) -> str:
    """Operator, node and source line out of the exporter's chain of exceptions."""
    messages = []
    cause: BaseException | None = error
    while cause is not None:
        messages.append(str(cause))
        cause = cause.__cause__
    text = "\n".join(messages)
    operator = re.search(r"op='([^']+)', overload='([^']+)'", text)
    node = re.search(r"translating node %?(\w+)", text)
    parts = []
    if operator:
        parts.append(f"no ONNX form of operator {operator[1]}.{operator[2]}")
    else:
        parts.append(messages[-1].strip().split("\n", 1)[0])
    if node:
        parts.append(f"node {node[1]!r}{_source_line(program, node[1])}")
    return ", ".join(parts)


def _source_line(program: torch.export.ExportedProgram, name: str) -> str:
    nodes = [node for node in program.graph.nodes if node.name == name]
    if not nodes:
        # The exporter decomposes operators first, which makes nodes of other names.
        with quiet(), contextlib.suppress(Exception):
            decomposed = program.run_decompositions()
            nodes = [node for node in decomposed.graph.nodes if node.name == name]
    for node in nodes:
        frames = re.findall(r'File "([^"]+)", line (\d+)', node.meta.get("stack_trace") or "")
        if frames:
            file, line = frames[-1]
            return f" from {file}:{line}"
    return ""


def tracing_reason(error: Exception) -> str:
    """First paragraph of torch's message, with the line of user code that it names."""
    text = str(error).strip()
    reason = " ".join(text.split("\n\n", 1)[0].split()) or type(error).__name__
    if type(error).__name__ == "GuardOnDataDependentSymNode":
        reason = (
            "forward branches on a value that is known only when it runs; "
            "use torch.where or torch.cond instead of if or while"
        )
    fixed = re.search(r"specialized it to be a constant \((\d+)\)", text)
    if fixed:
        reason = f"forward fixes the batch at {fixed[1]}; import it without a dynamic batch"
    call = re.search(r'following call raised this error:\s+File "([^"]+)", line (\d+)', text)
    return f"{reason} (at {call[1]}:{call[2]})" if call else reason


def located(error: Exception) -> str:
    """Message of an exception in user code, on one line, with its kind."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text}" if text else type(error).__name__
