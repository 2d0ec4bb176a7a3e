"""Converts ONNX files to Core ML packages with onnxsim's export_coreml, in its own environment.

Run by `benchmarks.onnx_node_coreml`: reads a folder of ``NAME.onnx``, writes ``NAME.mlpackage``
for each that is converted, and ``reasons.json`` with the message for each that is not. It is given
float32, as edgekit is, and the same deployment target.
"""

from __future__ import annotations

import json
import logging
import sys
import warnings
from pathlib import Path

# Where tensorflow is installed, importing coremltools with torch beside it may crash.
sys.modules["tensorflow"] = None  # type: ignore[assignment]
warnings.filterwarnings("ignore")
logging.disable(logging.WARNING)


def main() -> None:
    """Command line: the folder of graphs, and the folder of packages."""
    import coremltools
    import onnx
    import onnxsim

    graphs, packages = Path(sys.argv[1]), Path(sys.argv[2])
    packages.mkdir(parents=True, exist_ok=True)
    reasons: dict[str, str] = {}
    for path in sorted(graphs.glob("*.onnx")):
        output = packages / f"{path.stem}.mlpackage"
        try:
            model = onnx.load(path)
            simple, _ = onnxsim.simplify(model)
            onnxsim.export_coreml(
                simple,
                str(output),
                compute_precision=coremltools.precision.FLOAT32,
                minimum_deployment_target=coremltools.target.iOS18,
            )
        except BaseException as error:
            reasons[path.stem] = f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
        (packages / "reasons.json").write_text(json.dumps(reasons, indent=1))


if __name__ == "__main__":
    main()
