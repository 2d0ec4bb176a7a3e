"""The process that runs onnx2tf: ``python -m ... INPUT.onnx OUTPUT_FOLDER``.

onnx2tf rewrites its input file in place, writes progress bars to both streams, may end the
interpreter and leaves hundreds of megabytes behind; none of that reaches edgekit here.
Imports nothing of edgekit.
"""

from __future__ import annotations

import sys

MISSING_MODULE_EXIT = 5
MISSING_MODULE_MARK = "missing module: "


def main() -> int:
    """Converts; gives the exit code."""
    try:
        import onnx2tf

        # The first call imports the rest of onnx2tf.
        onnx2tf.convert(
            input_onnx_file_path=sys.argv[1],
            output_folder_path=sys.argv[2],
            tflite_backend="flatbuffer_direct",
            non_verbose=True,
            verbosity="error",
        )
    except ModuleNotFoundError as error:
        sys.stderr.write(f"\n{MISSING_MODULE_MARK}{error.name}\n")
        return MISSING_MODULE_EXIT
    return 0


if __name__ == "__main__":
    sys.exit(main())
