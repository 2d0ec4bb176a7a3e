"""The second engine: onnx2tf, in a process of its own, on a copy of the graph.

What it gives is taken for nothing more than a file: its inputs and outputs are matched
with those of the graph, and where shapes leave the axis order open (a square image, as
many channels as rows) the orders are tried against ONNX Runtime. The caller verifies the
outputs like those of edgekit's own lowering.
"""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import re
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from edgekit.core.signature import TensorSpec
from edgekit.core.target import Precision
from edgekit.errors import MissingToolError, UnsupportedError
from edgekit.measure.worker_process import how_it_ended, module_command, module_environment
from edgekit.targets.tflite.engines.axis_matching import Match, match_signature
from edgekit.targets.tflite.engines.onnx2tf_worker import (
    MISSING_MODULE_EXIT,
    MISSING_MODULE_MARK,
)
from edgekit.targets.tflite.repacking import with_interface
from edgekit.targets.tflite.runtime import runtime_missing

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.targets.tflite.lowering import LoweredGraph

PACKAGE = "onnx2tf"
TIMEOUT_S = 1800.0
_WORKER = "edgekit.targets.tflite.engines.onnx2tf_worker"
_SHOWN_LINES = 4
_ANSI = re.compile(r"\x1b\[[0-9;]*m")


def lower_with_onnx2tf(
    model: ir.Model, precision: Precision, *, timeout_s: float = TIMEOUT_S
) -> LoweredGraph:
    """Lowers a canonical graph with onnx2tf's ``flatbuffer_direct`` backend.

    Args:
        model: Canonical graph; not modified.
        precision: Which of onnx2tf's two files to take.
        timeout_s: Limit for the conversion, in seconds.

    Raises:
        MissingToolError: If onnx2tf, a package it needs, or LiteRT is not installed.
        UnsupportedError: If onnx2tf fails, LiteRT cannot run its file, or the file's inputs
            and outputs are not those of the graph.
    """
    if importlib.util.find_spec(PACKAGE) is None:
        raise _missing(PACKAGE)
    if reason := runtime_missing():
        raise MissingToolError(reason)
    from edgekit.graph.io import save_onnx
    from edgekit.targets.tflite.lowering import LoweredGraph

    with tempfile.TemporaryDirectory(prefix="edgekit-onnx2tf-") as scratch:
        source = Path(scratch) / "model.onnx"
        save_onnx(model, source)
        output = Path(scratch) / "output"
        _convert(source, output, timeout_s)
        produced = output / f"model_{precision}.tflite"
        if not produced.is_file():
            found = sorted(path.name for path in output.glob("*.tflite")) or "none"
            raise UnsupportedError(
                f"onnx2tf ended without an error and without {produced.name} "
                f"(its .tflite files: {found}). Use --engine edgekit."
            )
        match = _match(produced, model, precision)
        # Named and ordered like the graph, whatever onnx2tf made of it.
        data = with_interface(
            produced.read_bytes(),
            _named(match.signature.inputs, match.inputs),
            _named(match.signature.outputs, match.outputs),
        )
    version = importlib.metadata.version(PACKAGE)
    notes = (f"Lowered by onnx2tf {version} (flatbuffer_direct).", *match.notes)
    return LoweredGraph(data, match.signature, notes)


def _named(specs: Sequence[TensorSpec], indices: Sequence[int]) -> list[tuple[str, int]]:
    return [(spec.name, index) for spec, index in zip(specs, indices, strict=True)]


def _match(produced: Path, model: ir.Model, precision: Precision) -> Match:
    from edgekit.graph.reference import ReferenceSession

    reference = ReferenceSession(model)
    try:
        return match_signature(produced, reference, f"onnx2tf's {precision} file")
    except UnsupportedError as error:
        # The float16 file of 2.6.9 is float16 throughout, which LiteRT's CPU kernels refuse.
        other = " or --precision float32" if precision == "float16" else ""
        raise UnsupportedError(
            f"onnx2tf made a {precision} file, but it is of no use here: {error} "
            f"Use --engine edgekit{other}."
        ) from error
    finally:
        reference.close()


def _convert(source: Path, output: Path, timeout_s: float) -> None:
    """Runs the worker and raises what it died of."""
    # onnx2tf starts the program onnxsim that pip put beside the interpreter.
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    worker = subprocess.Popen(
        module_command(_WORKER, str(source), str(output)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        cwd=source.parent,
        env=module_environment(PATH=programs),
        start_new_session=True,
    )
    try:
        said = worker.communicate(timeout=timeout_s)[0]
    except subprocess.TimeoutExpired:
        raise UnsupportedError(
            f"onnx2tf did not end within {timeout_s:g} s. Use --engine edgekit."
        ) from None
    finally:
        _end_group(worker)
    if worker.returncode == 0:
        return
    lines = _lines(said)
    if worker.returncode == MISSING_MODULE_EXIT:
        names = [line for line in lines if line.startswith(MISSING_MODULE_MARK)]
        if names:
            raise _missing(names[-1].removeprefix(MISSING_MODULE_MARK))
    how = how_it_ended(worker.returncode)
    last = "\n".join(f"  {line}" for line in lines[-_SHOWN_LINES:])
    raise UnsupportedError(
        f"onnx2tf cannot convert this graph ({how}). Its last words:\n{last}\n"
        "Use --engine edgekit."
    )


def _end_group(worker: subprocess.Popen[bytes]) -> None:
    """Ends the worker and what it started, also after Ctrl-C."""
    with suppress(ProcessLookupError):
        os.killpg(worker.pid, signal.SIGKILL)
    worker.wait()
    if worker.stdout is not None:
        worker.stdout.close()


def _lines(said: bytes) -> list[str]:
    """The lines of a log without colours and without progress bars that were drawn over."""
    text = _ANSI.sub("", said.decode(errors="replace"))
    lines = [line.rpartition("\r")[2].strip() for line in text.split("\n")]
    return [line for line in lines if line and "it/s" not in line]


def _missing(package: str) -> MissingToolError:
    return MissingToolError.for_extra(package, "onnx2tf", "lower with --engine onnx2tf")
