"""Ctrl-C while a command works, as a real signal to a real process."""

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

PROJECT = """
name = "endless"
stages = ["train"]
[model]
source = "net.py:Net"
inputs = ["image:1x1x8x8"]
[model.preprocessing]
channels = "gray"
[data]
set = "digits"
[train]
epochs = 100000
[targets.onnxruntime]
"""

NET = """
import torch

class Net(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.linear = torch.nn.Linear(64, 10)

    def forward(self, image):
        return self.linear(image.flatten(1))
"""


def test_ctrl_c_ends_with_one_line_and_130(tmp_path: Path) -> None:
    (tmp_path / "edgekit.toml").write_text(PROJECT)
    (tmp_path / "net.py").write_text(NET)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    running = subprocess.Popen(
        [sys.executable, "-P", "-m", "edgekit", "run", "edgekit.toml"],
        cwd=tmp_path,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert running.stderr is not None
    seen = running.stderr.readline()  # the first line comes while it trains
    running.send_signal(signal.SIGINT)
    output, rest = running.communicate(timeout=180)
    assert "epoch" in seen
    assert running.returncode == 130
    lines = rest.splitlines()
    assert [line for line in lines if not line.startswith("  epoch")] == [
        "error: interrupted; finished steps are kept, no output is half-written"
    ]
    assert output == ""
    assert not (tmp_path / "out").exists()
    store = tmp_path / ".edgekit"
    assert not [json.loads(record.read_text()) for record in (store / "runs").glob("*")]
    assert not list((store / "scratch").iterdir())
