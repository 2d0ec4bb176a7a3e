"""ONNX to int8 .tflite by onnx2tf and TensorFlow's converter, in an environment of its own.

Usage: python quantize_with_tensorflow.py MODEL.onnx SAMPLES.npz OUTPUT.tflite FOLDER

onnx2tf makes a SavedModel (its backend ``tf_converter``) from a copy of the graph, which
TensorFlow's converter quantizes with representative data; inputs and outputs stay float32.
SAMPLES.npz holds one array ``x``, ``[n, H, W, C]``.
"""

import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import onnx2tf
import tensorflow as tf


def main(model: str, samples: str, output: str, folder: str) -> None:
    """Converts and quantizes."""
    copy = Path(folder) / "model.onnx"
    shutil.copy(model, copy)
    saved = Path(folder) / "saved_model"
    onnx2tf.convert(
        input_onnx_file_path=str(copy),
        output_folder_path=str(saved),
        tflite_backend="tf_converter",
        output_signaturedefs=True,
        non_verbose=True,
        verbosity="error",
    )
    data = np.load(samples)["x"]

    def representative() -> Iterator[list[np.ndarray]]:
        for sample in data:
            yield [sample[None]]

    converter = tf.lite.TFLiteConverter.from_saved_model(str(saved))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = representative
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    Path(output).write_bytes(converter.convert())


if __name__ == "__main__":
    main(*sys.argv[1:])
