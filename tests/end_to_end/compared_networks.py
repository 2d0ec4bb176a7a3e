"""Real networks as float and int8 artifacts for TFLite and Core ML, all of one QDQ graph each."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.core.artifact import Artifact, ArtifactKind
from edgekit.core.metadata import Preprocessing
from edgekit.core.quant import custom_scheme
from edgekit.core.target import LowerConfig, Lowered, Target
from edgekit.data.contract import DataSpec
from edgekit.data.image_set import spread
from edgekit.data.model_inputs import InputBatch, open_inputs
from edgekit.graph.importers import ImportRequest, import_model, parse_input
from edgekit.graph.io import load_onnx, save_onnx, signature_of
from edgekit.quantization.ptq import PtqOptions, quantize_ptq
from edgekit.targets.coreml.target import create_target as coreml_target
from edgekit.targets.tflite.target import create_target as tflite_target
from tests.end_to_end.shared_data import shared_file
from tests.zoo_models import export_zoo_onnx

_SAMPLES = Path(__file__).parents[2] / "sample_models"
_CALIBRATION = 32
_REAL_CALIBRATION = 256
_FEW = 4
_COMPARED = 32
_IMAGE = 64


@dataclass(frozen=True, slots=True)
class Network:
    """One network in all its forms.

    Attributes:
        onnx: Canonical float graph.
        qdq: QDQ graph.
        tflite: By precision, ``"float32"`` and ``"int8"``.
        coreml: The same.
        batches: Samples to compare on.
        more: More of them.
    """

    onnx: Path
    qdq: Path
    tflite: dict[str, Path]
    coreml: dict[str, Path]
    batches: list[InputBatch]
    more: list[InputBatch]


def build(name: str, folder: Path, calibrated: int | None = None) -> Network:
    """One of ``"resnet20"`` and ``"tiny_vit"``, which are trained, and ``"mobilenet_v2"``.

    Args:
        name: Of the network.
        folder: Where its files go.
        calibrated: Samples calibrated with; None takes enough.
    """
    path = folder / f"{name}.onnx"
    calibration, compared = _MAKERS[name](path)
    if calibrated is not None:
        calibration = _thinned(calibration, calibrated)
    model = load_onnx(path)
    made = quantize_ptq(
        model,
        lambda: iter([batch.feeds for batch in calibration]),
        # What float16 expresses, Core ML can compute in.
        custom_scheme("int8", scale_format="float16"),
        PtqOptions(method="minmax"),
    )
    qdq = folder / f"{name}.qdq.onnx"
    save_onnx(made.model, qdq)
    files = {"float32": (ArtifactKind.ONNX, path), "int8": (ArtifactKind.QDQ_ONNX, qdq)}

    def lowered(target: Target) -> dict[str, Path]:
        return {precision: _lowered(target, precision, *files[precision]) for precision in files}

    few = _thinned(compared, _FEW)
    return Network(path, qdq, lowered(tflite_target()), lowered(coreml_target()), few, compared)


def _thinned(batches: list[InputBatch], count: int) -> list[InputBatch]:
    """As many of them, spread over all."""
    return batches[:: len(batches) // count][:count]


def _lowered(target: Target, precision: str, kind: ArtifactKind, source: Path) -> Path:
    config = LowerConfig.model_validate({"precision": precision})
    made = target.lower(Artifact.of(kind, source), config, source.parent)
    assert isinstance(made, Lowered)
    return made.artifact.path


def _resnet20(path: Path) -> tuple[list[InputBatch], list[InputBatch]]:
    """ResNet-20 with published weights, on CIFAR-10."""
    weights = shared_file("models/resnet20-cifar10/resnet20-12fca82f.th")
    data = shared_file("cifar10")
    _import("resnet_cifar/model.py:resnet20", weights, "image:1x3x32x32", path)
    normal = Preprocessing(scale=1 / 255, mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225))
    return _batches(path, "cifar10", data.parent, normal)


def _tiny_vit(path: Path) -> tuple[list[InputBatch], list[InputBatch]]:
    """The sample vision transformer with its own weights, on Fashion-MNIST."""
    data = shared_file("fashion-mnist")
    weights = _SAMPLES / "tiny_vit" / "tiny_vit.safetensors"
    _import("tiny_vit/model.py:tiny_vit", weights, "image:1x1x28x28", path)
    normal = Preprocessing(channels="gray", scale=1 / 255, mean=(0.286,), std=(0.353,))
    return _batches(path, "fashion-mnist", data.parent, normal)


def _mobilenet_v2(path: Path) -> tuple[list[InputBatch], list[InputBatch]]:
    """MobileNetV2 with random weights and calibrated BatchNorm, on noise."""
    export_zoo_onnx("mobilenet_v2", path, _IMAGE)
    random = np.random.default_rng(0)
    noise = random.standard_normal((_CALIBRATION, 1, 3, _IMAGE, _IMAGE)).astype(np.float32)
    batches = [InputBatch({"image": image}, None, 1) for image in noise]
    return batches, batches


_MAKERS: dict[str, Callable[[Path], tuple[list[InputBatch], list[InputBatch]]]] = {
    "resnet20": _resnet20,
    "tiny_vit": _tiny_vit,
    "mobilenet_v2": _mobilenet_v2,
}


def _import(source: str, weights: Path, shape: str, path: Path) -> None:
    request = ImportRequest(
        source=str(_SAMPLES / source), weights=weights, inputs=(parse_input(shape),)
    )
    model: ir.Model = import_model(request).model
    save_onnx(model, path)


def _batches(
    path: Path, name: str, root: Path, preprocessing: Preprocessing
) -> tuple[list[InputBatch], list[InputBatch]]:
    """Samples to calibrate with and samples to compare on, of different splits."""
    signature = signature_of(load_onnx(path))
    found = []
    for split, count in (("train", _REAL_CALIBRATION), ("test", _COMPARED)):
        spec = DataSpec.model_validate({"set": name, "root": root, "split": split})
        inputs = open_inputs(spec, signature, preprocessing)
        found.append(list(inputs.batches(1, spread(len(inputs), count).tolist())))
    return found[0], found[1]
