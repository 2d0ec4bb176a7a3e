"""Quantizes a float .tflite file with ai-edge-quantizer, in an environment of its own.

Usage: python quantize_with_aeq.py MODEL.tflite SAMPLES.npz OUTPUT.tflite

SAMPLES.npz holds one array ``x``, ``[n, ...]`` in the file's own axis order. Static range,
weights and activations of 8 bits: the recipe ``static_wi8_ai8``.
"""

import sys

import numpy as np
from ai_edge_quantizer import quantizer, recipe


def main(model: str, samples: str, output: str) -> None:
    """Calibrates with all samples and writes the quantized file."""
    from ai_edge_litert.interpreter import Interpreter

    key, signature = next(iter(Interpreter(model).get_signature_list().items()))
    name = signature["inputs"][0]
    data = np.load(samples)["x"]
    made = quantizer.Quantizer(model, recipe.static_wi8_ai8())
    ranges = made.calibrate({key: [{name: sample[None]} for sample in data]})
    made.quantize(ranges).export_model(output)


if __name__ == "__main__":
    main(*sys.argv[1:])
