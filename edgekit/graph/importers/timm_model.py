"""Importer of ``timm:NAME`` and ``timm:NAME@pretrained``."""

from __future__ import annotations

import difflib

import onnx_ir as ir
import torch

from edgekit.core.metadata import Preprocessing
from edgekit.errors import InputError, MissingToolError, UsageError
from edgekit.graph.importers.request import ImportRequest, InputRequest
from edgekit.graph.importers.torch_export import export_module
from edgekit.graph.importers.weights import load_weights, refuse_nan

PREFIX = "timm:"
_PRETRAINED = "@pretrained"


def import_timm_model(request: ImportRequest) -> tuple[ir.Model, Preprocessing | None]:
    """Builds a timm model and exports it.

    Weights are random (seeded) unless a file is given or the name ends in ``@pretrained``.

    Returns:
        Graph, and the preprocessing that timm states for the model.

    Raises:
        MissingToolError: If timm is not installed.
        InputError: If timm has no such model, or the weights do not fit.
        UnsupportedError: If torch cannot export the model.
    """
    module = _create(request)
    if request.weights is not None:
        load_weights(module, request.weights)
    refuse_nan(module, str(request.weights or request.source))
    preprocessing, shape = _data_config(module)
    inputs = request.inputs or (InputRequest(name="image", shape=(1, *shape)),)
    model = export_module(
        module, inputs, dynamic_batch=request.dynamic_batch, where=request.source
    )
    return model, preprocessing


def _create(request: ImportRequest) -> torch.nn.Module:
    try:
        import timm
    except ImportError as error:
        raise MissingToolError.for_extra("timm", "zoo", "import timm models") from error
    name = request.source.removeprefix(PREFIX)
    pretrained = name.endswith(_PRETRAINED)
    name = name.removesuffix(_PRETRAINED)
    if pretrained and request.weights is not None:
        raise UsageError(f"{request.source} asks for timm's weights, but --weights is given too")
    if not timm.is_model(name):
        near = ", ".join(difflib.get_close_matches(name, timm.list_models(), n=3))
        hint = f"; similar: {near}" if near else "; see timm.list_models()"
        raise InputError(f"timm has no model {name!r}{hint}")
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            module: torch.nn.Module = timm.create_model(name, pretrained=pretrained)
    except (OSError, RuntimeError) as error:
        first = (str(error).strip() or type(error).__name__).split("\n", 1)[0]
        what = f"{name!r} with its weights" if pretrained else repr(name)
        raise InputError(f"timm cannot create {what}: {first}") from error
    return module


def _data_config(module: torch.nn.Module) -> tuple[Preprocessing | None, tuple[int, ...]]:
    """Preprocessing and input shape [C, H, W] that timm states."""
    import timm.data

    config = timm.data.resolve_model_data_config(module)
    channels, height, width = config["input_size"]
    if channels not in (1, 3):
        return None, (channels, height, width)
    interpolation = config["interpolation"]
    preprocessing = Preprocessing(
        size=(height, width),
        resize="stretch" if config.get("crop_mode") == "squash" else "crop",
        crop_fraction=config["crop_pct"],
        interpolation=interpolation if interpolation in {"nearest", "bicubic"} else "bilinear",
        channels="rgb" if channels == 3 else "gray",
        mean=tuple(config["mean"]),
        std=tuple(config["std"]),
    )
    return preprocessing, (channels, height, width)
