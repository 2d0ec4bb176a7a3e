"""What zeros in single weights gain on a runtime; importing this loads no framework."""

from __future__ import annotations

_GAINS = {
    "onnxruntime": "No speed: its CPU kernels multiply every weight. The file keeps its size, "
    "and only a compressed download is smaller.",
    "tflite": "Float32 filters of 1x1 with 2/3 of zeros and more are stored without them: a "
    "smaller file, and on arm64 and in browsers XNNPACK computes these convolutions on sparse "
    "filters where the layers around them allow it (on x86 with AVX as dense ones). Other "
    "layers, float16 and int8 gain no speed; only a compressed download is smaller.",
    "coreml": "A smaller file where the weights are stored in sparse form (a bit mask and the "
    "others): edgekit lowers them dense, and edgekit compress PACKAGE --zeros stores the zeros "
    "that are there in that form (--sparse SHARE makes more of them). Speed then depends on "
    "whether the Neural Engine is bound by memory. As lowered, only a compressed download is "
    "smaller.",
    "tensorrt": "2:4 alone is used, on GPUs from compute capability 8.0 on, by layers with many "
    "channels; a share without pattern gains nothing.",
}


def what_it_gains(target: str) -> str:
    """What zeros in single weights gain on a runtime, in one or two sentences.

    These are properties of the runtimes' kernels and formats, not measurements.

    Args:
        target: Name of a target, for instance ``"tflite"``.
    """
    return _GAINS.get(
        target,
        f"edgekit knows of no sparse kernel of {target!r}: expect no speed. Only a compressed "
        "download is smaller.",
    )
