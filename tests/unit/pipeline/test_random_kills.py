"""Runs killed at random moments, many times: the store is never wrong."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

DRIVER = """
import json, os, random, signal, sys, time
from pathlib import Path

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.stage import StageConfig, StageResult
from edgekit.pipeline.runner import Runner
from edgekit.pipeline.steps import PublishedOutput, Source, Step, make_plan
from edgekit.store.store import Store

class Config(StageConfig):
    number: int

class Chain:
    name, version, optional, tools = "chain", 1, frozenset({"model"}), ()
    consumes = {"model": frozenset({ArtifactKind.ONNX})}
    produces = {"model": ArtifactKind.ONNX, "page": ArtifactKind.REPORT}
    config_type = Config
    def external_files(self, config):
        return ()
    def run(self, context, inputs, config):
        before = inputs["model"].path.read_bytes() if inputs else b""
        model, page = context.workdir / "m.onnx", context.workdir / "page"
        model.write_bytes(before + bytes([config.number]) * 20000)
        (page / "deep").mkdir(parents=True)
        for part in range(3):
            (page / "deep" / f"{part}.html").write_bytes(bytes([config.number + part]) * 5000)
        return StageResult({
            "model": Artifact.of(ArtifactKind.ONNX, model),
            "page": Artifact.of(ArtifactKind.REPORT, page),
        })

def plan(out):
    steps = []
    for n in range(6):
        inputs = {"model": Source(f"s{n - 1}", "model")} if n else {}
        steps.append(Step(f"s{n}", Chain(), Config(number=n), inputs))
    outputs = [PublishedOutput("m.onnx", Source("s5", "model"))]
    outputs += [PublishedOutput("page", Source("s5", "page"))]
    return make_plan(steps, outputs=outputs, output_folder=out)

work, random_ = Path(sys.argv[1]), random.Random(0)
begin = time.perf_counter()
Runner(Store(work / "calm")).run(plan(work / "calm-out"))
whole_s = time.perf_counter() - begin
killed = 0
for attempt in range(400):
    # On a busy machine few of the kills strike before the run has ended.
    if attempt >= 40 and killed >= 5:
        break
    child = os.fork()
    if not child:
        Runner(Store(work / "store")).run(plan(work / "out"))
        os._exit(0)
    time.sleep(random_.random() * whole_s * 0.6)
    os.kill(child, signal.SIGKILL)
    killed += os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL
    store = Store(work / "store")
    for record in (work / "store" / "runs").glob("[!.]*.json"):
        found = store.get(record.stem)
        assert found.record is not None, found.notes
    published = work / "out" / "m.onnx"
    assert not published.exists() or published.stat().st_size == 120000
    if (killed >= 6 or attempt >= 20) and random_.random() < 0.2:
        # Begin anew, so that early steps are killed again.
        for record in (work / "store" / "runs").glob("*.json"):
            record.unlink()
last = Runner(Store(work / "store")).run(plan(work / "out"))
print(json.dumps({"killed": killed, "again": Runner(store).run(plan(work / "out")).describe()}))
"""


def test_store_survives_kills_at_random_moments(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", DRIVER, str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["killed"] >= 5
    assert answer["again"].startswith("Nothing to do: all 6 steps")
    calm, killed = tmp_path / "calm-out", tmp_path / "out"
    assert (calm / "m.onnx").read_bytes() == (killed / "m.onnx").read_bytes()
    for part in range(3):
        name = f"page/deep/{part}.html"
        assert (calm / name).read_bytes() == (killed / name).read_bytes()
    assert sorted(path.name for path in killed.iterdir()) == ["m.onnx", "page"]
    assert list((tmp_path / "store" / "scratch").iterdir()) == []
