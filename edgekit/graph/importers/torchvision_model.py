"""Importer of ``torchvision:NAME`` and ``torchvision:NAME@pretrained``."""

from __future__ import annotations

import difflib
from typing import Any

import onnx_ir as ir
import torch

from edgekit.core.metadata import Preprocessing
from edgekit.errors import InputError, MissingToolError, UsageError
from edgekit.graph.importers.request import ImportRequest, InputRequest
from edgekit.graph.importers.torch_export import export_module
from edgekit.graph.importers.weights import load_weights, refuse_nan

PREFIX = "torchvision:"
_PRETRAINED = "@pretrained"


def import_torchvision_model(
    request: ImportRequest,
) -> tuple[ir.Model, Preprocessing | None, tuple[str, ...]]:
    """Builds a torchvision model and exports it.

    Weights are random (seeded) unless a file is given or the name ends in ``@pretrained``.

    Returns:
        Graph, the preprocessing that torchvision states, and the class names where its own
        weights are used.

    Raises:
        MissingToolError: If torchvision is not installed.
        UsageError: If the input shape is neither given nor known.
        InputError: If torchvision has no such model, or the weights do not fit.
        UnsupportedError: If torch cannot export the model.
    """
    name = request.source.removeprefix(PREFIX)
    pretrained = name.endswith(_PRETRAINED)
    name = name.removesuffix(_PRETRAINED)
    if pretrained and request.weights is not None:
        raise UsageError(f"{request.source} asks for its own weights, but --weights is given too")
    module, weights = _create(name, pretrained=pretrained)
    if request.weights is not None:
        load_weights(module, request.weights)
    refuse_nan(module, str(request.weights or request.source))
    preprocessing = _preprocessing(weights)
    inputs = request.inputs
    if not inputs:
        if preprocessing is None or preprocessing.size is None:
            raise UsageError(
                f"torchvision does not say the input shape of {name!r}; "
                "give it, for example: --input image:1x3x224x224"
            )
        inputs = (InputRequest(name="image", shape=(1, 3, *preprocessing.size)),)
    model = export_module(
        module, inputs, dynamic_batch=request.dynamic_batch, where=request.source
    )
    labels = tuple(weights.meta.get("categories", ())) if pretrained else ()
    return model, preprocessing, labels


def _create(name: str, *, pretrained: bool) -> tuple[torch.nn.Module, Any]:
    """The module, and torchvision's entry of its default weights."""
    try:
        import torchvision
    except ImportError as error:
        raise MissingToolError.for_extra(
            "torchvision", "zoo", "import torchvision models"
        ) from error
    known = torchvision.models.list_models()
    if name not in known:
        near = ", ".join(difflib.get_close_matches(name, known, n=3))
        hint = f"; similar: {near}" if near else "; see torchvision.models.list_models()"
        raise InputError(f"torchvision has no model {name!r}{hint}")
    weights = torchvision.models.get_model_weights(name)
    default = getattr(weights, "DEFAULT", None)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            options: dict[str, Any] = {"weights": default if pretrained else None}
            # Detection models load a pretrained backbone of their own unless told not to.
            if "detection" in torchvision.models.get_model_builder(name).__module__ or (
                "segmentation" in torchvision.models.get_model_builder(name).__module__
            ):
                options["weights_backbone"] = None
            # GoogLeNet and Inception warn unless told how to initialise.
            if name in {"googlenet", "inception_v3"}:
                options["init_weights"] = not pretrained
            module: torch.nn.Module = torchvision.models.get_model(name, **options)
    except (OSError, RuntimeError, ValueError) as error:
        first = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        what = f"{name!r} with its weights" if pretrained else repr(name)
        raise InputError(f"torchvision cannot create {what}: {first}") from error
    return module, default


def _preprocessing(weights: Any) -> Preprocessing | None:
    """What the transforms of torchvision's weights do, where they are for classification."""
    if weights is None:
        return None
    transforms = weights.transforms()
    crop, resize = getattr(transforms, "crop_size", None), getattr(transforms, "resize_size", None)
    if not crop or not resize or len(crop) != 1 or len(resize) != 1:
        return None
    mode = transforms.interpolation.value
    return Preprocessing(
        size=(crop[0], crop[0]),
        resize="crop",
        crop_fraction=min(1.0, crop[0] / resize[0]),
        interpolation=mode if mode in {"nearest", "bicubic"} else "bilinear",
        mean=tuple(transforms.mean),
        std=tuple(transforms.std),
    )
