"""ONNX's own node tests through Core ML: lowering, the saved package, and its execution.

Every test of kind "node" that the installed onnx package ships is converted to a package
(float32, iOS18) and the package is run in the edgekit MIL runtime on the test's inputs. A test
whose graph is refused because an operand has to be known is tried once more with all inputs but
the first as constants, which is how models hold weights, axes and shapes; the table tells the two
apart. With --peer the packages of onnxsim's `export_coreml` (in an environment of its own, see
benchmarks/README.md) are executed by the same runtime. Run from the repository root:

    python -m benchmarks.onnx_node_coreml [NAME ...] [--peer ENVIRONMENT]

It writes benchmarks/results/onnx_node_coreml.json and .md.
"""

from __future__ import annotations

import argparse
import json
import shutil
import subprocess
import tempfile
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx.backend.test
from onnx import numpy_helper

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.target import LowerConfig, Lowered, RuntimeConfig
from edgekit.errors import EdgekitError, InternalError, UnsupportedGraphError
from edgekit.graph.reference import ReferenceSession
from edgekit.targets.coreml.runtime import MilModel
from edgekit.targets.coreml.target import CoreMLTarget

TESTS = Path(onnx.backend.test.__file__).parent / "data" / "node"
RESULTS = Path(__file__).parent / "results"
PEER_SCRIPT = Path(__file__).parent / "peers" / "export_with_onnxsim.py"
RTOL, ATOL = 1e-3, 1e-5
"""The first is that of ONNX's own backend test runner."""
SHORT_FLOATS = {"float16": 1e-2, "bfloat16": 2e-2}
RIGHT = ("right", "right with constants")
CONDITIONS = (
    "onnx {}, {} tests of kind node; packages for iOS18 in float32, executed by the edgekit MIL "
    "runtime. 'With constants' are tests whose graph needs an operand to be known, with all "
    "inputs but the first as constants."
)
HEADINGS = (
    "converter", "right", "right with constants", "like ONNX Runtime, unlike the test's data",
    "wrong", "failed in the runtime", "refused",
)  # fmt: skip
type Arrays = dict[str, Any]


class Case:
    """One test: its graph, inputs and expected outputs."""

    def __init__(self, folder: Path) -> None:
        self.name = folder.name
        self.proto = onnx.load(folder / "model.onnx")
        self._data = folder / "test_data_set_0"
        self.op = self._op()

    def _op(self) -> str:
        ops: list[str] = [node.op_type for node in self.proto.graph.node]
        if len(set(ops)) == 1 and not self.proto.functions:
            return ops[0]
        # Tests of an operator written out as its function end so, and begin like the others.
        return "functions written out" if self.name.endswith("_expanded") else "several"

    def tensor(self, kind: str, index: int) -> Any:
        """A stored tensor; None for sequences and optionals."""
        info = (self.proto.graph.input if kind == "input" else self.proto.graph.output)[index]
        if not info.type.HasField("tensor_type"):
            return None
        tensor = onnx.TensorProto()
        tensor.ParseFromString((self._data / f"{kind}_{index}.pb").read_bytes())
        tensor.name = info.name
        return tensor

    def feeds(self, proto: onnx.ModelProto) -> Arrays:
        """Inputs of one form of the graph."""
        names = [item.name for item in self.proto.graph.input]
        found = {}
        for item in proto.graph.input:
            tensor = self.tensor("input", names.index(item.name))
            if tensor is not None:
                found[item.name] = numpy_helper.to_array(tensor)
        return found

    def expected(self) -> Arrays:
        """Outputs by name."""
        found = {}
        for index, item in enumerate(self.proto.graph.output):
            tensor = self.tensor("output", index)
            if tensor is not None:
                found[item.name] = numpy_helper.to_array(tensor)
        return found

    def with_constants(self) -> onnx.ModelProto | None:
        """The graph with all inputs but the first as constants; None where there is one alone."""
        if len(self.proto.graph.input) < 2:
            return None
        made = onnx.ModelProto()
        made.CopyFrom(self.proto)
        for index in range(1, len(made.graph.input)):
            tensor = self.tensor("input", index)
            if tensor is None:
                return None
            made.graph.initializer.append(tensor)
        del made.graph.input[1:]
        return made

    def forms(self) -> list[tuple[str, onnx.ModelProto]]:
        """The graph as it is, and with constants."""
        constant = self.with_constants()
        return [("right", self.proto)] + ([] if constant is None else [(RIGHT[1], constant)])


def close(expected: Arrays, actual: Arrays) -> bool:
    """Whether all outputs are near enough, and of the same shapes."""
    for name, wanted in expected.items():
        got = np.asarray(actual[name])
        if got.shape != wanted.shape:
            return False
        if wanted.dtype.kind in "biu":
            if not np.array_equal(wanted, got):
                return False
            continue
        rtol = SHORT_FLOATS.get(wanted.dtype.name, RTOL)
        a, b = wanted.astype(np.float64), got.astype(np.float64)
        if not np.allclose(
            b, a, rtol=rtol, atol=max(ATOL, rtol if rtol > RTOL else 0), equal_nan=True
        ):
            return False
    return True


def like_the_runtime(proto: onnx.ModelProto, feeds: Arrays, actual: Arrays) -> bool:
    """Whether ONNX Runtime computes the same, where it too differs from the test's data."""
    try:
        with ReferenceSession(proto) as session:
            return close(session.run(feeds), actual)
    except EdgekitError:
        return False


def judged(case: Case, proto: onnx.ModelProto, form: str, actual: Arrays) -> str:
    """How a package did."""
    if close(case.expected(), actual):
        return form
    if like_the_runtime(proto, case.feeds(proto), actual):
        return "like ONNX Runtime, unlike the test's data"
    return "wrong"


def run_edgekit(case: Case, folder: Path) -> tuple[str, str]:
    """Verdict and reason for edgekit."""
    target = CoreMLTarget()
    reason = ""
    for form, proto in case.forms():
        try:
            path = folder / "graph.onnx"
            onnx.save(proto, path)
            source = Artifact.of(ArtifactKind.ONNX, path)
            lowered = target.lower(source, LowerConfig(precision="float32"), folder)
            assert isinstance(lowered, Lowered)
            session: Any = target.load(lowered.artifact.path, RuntimeConfig())
            actual = session.run(case.feeds(proto))
        except UnsupportedGraphError as error:
            reason = error.nodes[0].reason
            continue
        except InternalError as error:
            return "failed", str(error)
        except EdgekitError as error:
            reason = str(error).splitlines()[0].replace(f"{folder}/", "")
            continue
        return judged(case, proto, form, actual), ""
    return "refused", reason


def export_for_peer(cases: list[Case], folder: Path) -> None:
    """Writes both forms of every test as a file."""
    folder.mkdir(parents=True)
    for case in cases:
        for index, (_, proto) in enumerate(case.forms()):
            onnx.save(proto, folder / f"{case.name}.{index}.onnx")


def run_peer(case: Case, packages: Path, reasons: dict[str, str]) -> tuple[str, str]:
    """Verdict and reason for the peer's packages."""
    reason = "no package"
    for index, (form, proto) in enumerate(case.forms()):
        package = packages / f"{case.name}.{index}.mlpackage"
        if not package.is_dir():
            reason = reasons.get(f"{case.name}.{index}", "no package")
            continue
        try:
            actual = predicted(package, case, proto)
        except EdgekitError as error:
            return "failed", str(error).splitlines()[0]
        return judged(case, proto, form, actual), ""
    return "refused", reason


def predicted(package: Path, case: Case, proto: onnx.ModelProto) -> Arrays:
    """What a package of the peer gives; features stand in the order of the graph."""
    model = MilModel(package)
    feeds = case.feeds(proto)
    given = {}
    for feature, (_, array) in zip(model.inputs, feeds.items(), strict=True):
        whole = "int" in feature.dtype
        wide = array.astype(np.int32 if whole else np.float32)
        given[feature.name] = wide.reshape(wide.shape or (1,))
    results = list(model.predict(given).values())
    found = {}
    for (name, wanted), result in zip(case.expected().items(), results, strict=True):
        array = np.asarray(result)
        array = array.reshape(()) if wanted.shape == () and array.size == 1 else array
        found[name] = array != 0 if wanted.dtype == np.bool_ else array
    return found


def markdown(rows: list[dict[str, str]], who: list[str]) -> str:
    """Totals, a table by operator, and the reasons of refusals."""
    lines = [
        "# ONNX's node tests through Core ML",
        "",
        CONDITIONS.format(onnx.__version__, len(rows)),
        "",
        f"| {' | '.join(HEADINGS)} |",
        "|" + "---|" * len(HEADINGS),
    ]
    verdicts = (*RIGHT, "like ONNX Runtime, unlike the test's data", "wrong", "failed", "refused")
    for name in who:
        counts = Counter(row[name] for row in rows)
        lines.append(f"| {name} | {' | '.join(str(counts[item]) for item in verdicts)} |")
    headings = ["operator", "tests", *(f"{name}: right, wrong, refused" for name in who)]
    lines += ["", f"| {' | '.join(headings)} |", "|" + "---|" * len(headings)]
    by_op: dict[str, list[dict[str, str]]] = defaultdict(list)
    for row in rows:
        by_op[row["op"]].append(row)
    for op in sorted(by_op):
        cells = []
        for name in who:
            counts = Counter(row[name] for row in by_op[op])
            right = counts[RIGHT[0]] + counts[RIGHT[1]] + counts[verdicts[2]]
            cells.append(f"{right}, {counts['wrong'] + counts['failed']}, {counts['refused']}")
        lines.append(f"| {op} | {len(by_op[op])} | {' | '.join(cells)} |")
    reasons = Counter(row["reason"] for row in rows if row["edgekit"] == "refused")
    lines += ["", "Reasons of edgekit's refusals, the most frequent first:", ""]
    lines += [f"- {count} x {reason}" for reason, count in reasons.most_common(40)]
    return "\n".join(lines) + "\n"


def main() -> None:
    """Command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else "")
    parser.add_argument("names", nargs="*", help="parts of names of tests; all by default")
    parser.add_argument("--peer", type=Path, help="environment with onnxsim and coremltools")
    arguments = parser.parse_args()
    folders = [
        folder
        for folder in sorted(TESTS.iterdir())
        if not arguments.names or any(part in folder.name for part in arguments.names)
    ]
    cases = [Case(folder) for folder in folders]
    rows = []
    with tempfile.TemporaryDirectory(prefix="edgekit-nodes-") as scratch:
        folder = Path(scratch)
        for case in cases:
            work = folder / "work"
            work.mkdir()
            verdict, reason = run_edgekit(case, work)
            shutil.rmtree(work)
            rows.append({"test": case.name, "op": case.op, "edgekit": verdict, "reason": reason})
            if verdict not in (*RIGHT, "refused"):
                print(case.name, verdict, reason[:200], flush=True)
        who = ["edgekit"]
        if arguments.peer is not None:
            who.append("onnxsim")
            export_for_peer(cases, folder / "graphs")
            packages = folder / "packages"
            python = arguments.peer / "bin" / "python"
            command = [str(python), str(PEER_SCRIPT), str(folder / "graphs"), str(packages)]
            subprocess.run(
                command, check=False, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
            )
            reasons = json.loads((packages / "reasons.json").read_text())
            for case, row in zip(cases, rows, strict=True):
                row["onnxsim"], row["onnxsim reason"] = run_peer(case, packages, reasons)
    print({name: dict(Counter(row[name] for row in rows)) for name in who})
    if not arguments.names:
        path = RESULTS / "onnx_node_coreml.json"
        path.write_text(json.dumps(rows, indent=1) + "\n")
        path.with_suffix(".md").write_text(markdown(rows, who))


if __name__ == "__main__":
    main()
