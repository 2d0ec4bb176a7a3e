"""From a canonical graph to a package on disk."""

from __future__ import annotations

import shutil
from pathlib import Path

import onnx_ir as ir

from edgekit import __version__
from edgekit.core.artifact import Artifact, ArtifactKind, file_stem
from edgekit.core.batch_sizes import BatchSizes
from edgekit.core.metadata import ModelMetadata
from edgekit.core.target import QUANTIZED, WEIGHTS_ONLY, LowerConfig, Lowered
from edgekit.errors import ConfigError, InputError
from edgekit.graph.io import load_onnx, read_metadata, signature_of
from edgekit.graph.quantized import NO_WEIGHTS, is_quantized, read_float_reasons, require_qdq
from edgekit.targets.coreml import INFO
from edgekit.targets.coreml.embedded import EmbeddedMetadata, StoredOrigin, encode
from edgekit.targets.coreml.estimate import Features, features_of_graph
from edgekit.targets.coreml.lowering.conversion import Description, convert_program, serialized
from edgekit.targets.coreml.lowering.graph import LoweredProgram, lower_graph
from edgekit.targets.coreml.lowering.options import DEFAULT_BATCHES, Compute, LoweringOptions
from edgekit.targets.coreml.lowering.scales import inexact_scales
from edgekit.targets.coreml.saving import write_package
from edgekit.targets.coreml.tools import coremltools_version

_OLDEST = {"int8": "iOS17", "int8-weights": "iOS16", "int4-weights": "iOS18"}
"""Oldest deployment target with the operators of a numeric form."""

_SHOWN = 3


def write_artifact(source: Artifact, config: LowerConfig, workdir: Path) -> Lowered:
    """Lowers a graph and writes the package.

    Args:
        source: The canonical graph, float or QDQ.
        config: Settled options.
        workdir: Folder of the package.

    Raises:
        ConfigError: If the deployment target lacks the numeric form.
        UnsupportedGraphError: With all nodes that cannot be lowered.
    """
    deployment = config.deployment_target or INFO.deployment_targets[0]
    _check_deployment(config.precision, deployment)
    model = load_onnx(source.path)
    require_qdq(model, config.precision)
    compute, notes = _compute(model, config)
    chosen = config.batch_sizes
    batches = DEFAULT_BATCHES if chosen is None else BatchSizes.parse(chosen)
    options = LoweringOptions(deployment, compute, config.image_input, batches)
    lowered = lower_graph(model, options)
    metadata = read_metadata(model)
    embedded = _embedded(model, source, (config, options), lowered)
    converted = convert_program(lowered, options)
    try:
        content, weights = serialized(converted, _description(metadata, embedded))
        path = workdir / f"{file_stem(metadata.name)}-{config.precision}{INFO.suffix}"
        write_package(path, content, weights)
    finally:
        shutil.rmtree(converted.package_path, ignore_errors=True)
    artifact = Artifact.of(
        ArtifactKind.COREML,
        path,
        signature=embedded.signature,
        metadata=metadata,
        precision=config.precision,
    )
    if config.precision in WEIGHTS_ONLY and not is_quantized(model):
        notes.append(NO_WEIGHTS)
    notes += _renamed(lowered)
    return Lowered(artifact, (*notes, *lowered.notes))


def _check_deployment(precision: str, deployment: str) -> None:
    oldest = _OLDEST.get(precision)
    if oldest is None or LoweringOptions(deployment).at_least(oldest):
        return
    raise ConfigError(
        f"Precision {precision} needs Core ML operators of {oldest} or later, but the deployment "
        f"target is {deployment}. Raise it (--deployment-target {oldest}) or choose float16."
    )


def _compute(model: ir.Model, config: LowerConfig) -> tuple[Compute, list[str]]:
    """Type of floats within the program, and why where it is not what was asked for."""
    if config.compute != "float16":
        return "float32", []
    if config.precision not in QUANTIZED:
        return "float16", []
    inexact = inexact_scales(model)
    if not inexact:
        return "float16", []
    shown = ", ".join(inexact[:_SHOWN])
    more = f" and {len(inexact) - _SHOWN} more" if len(inexact) > _SHOWN else ""
    note = (
        "computes in float32, since float16 does not represent all scales of the graph "
        f"({len(inexact)}: {shown}{more}); quantize with scale_format = float16 to compute in "
        "float16"
    )
    return "float32", [note]


def _embedded(
    model: ir.Model,
    source: Artifact,
    how: tuple[LowerConfig, LoweringOptions],
    lowered: LoweredProgram,
) -> EmbeddedMetadata:
    config, options = how
    return EmbeddedMetadata(
        metadata=read_metadata(model),
        signature=signature_of(model),
        features=dict(lowered.features),
        image=lowered.image,
        compute=options.compute,
        deployment_target=options.deployment_target,
        provenance={
            "edgekit": __version__,
            "coremltools": coremltools_version(),
            "precision": config.precision,
            "source_digest": source.digest,
        },
        origins=tuple(
            StoredOrigin(variable=variable, value=value, role=role)
            for variable, value, role in lowered.origins
        ),
        float_reasons=read_float_reasons(model),
        costs=_costs(model),
    )


def _costs(model: ir.Model) -> Features | None:
    """What one inference costs; None where the graph does not tell."""
    try:
        return features_of_graph(model)
    except InputError:
        return None


def _description(metadata: ModelMetadata, embedded: EmbeddedMetadata) -> Description:
    return Description(
        summary=f"{metadata.name}, {embedded.provenance['precision']}, converted by edgekit "
        f"{__version__}",
        author=metadata.author,
        license=metadata.license,
        version=metadata.version,
        entries=encode(embedded),
    )


def _renamed(lowered: LoweredProgram) -> list[str]:
    """Inputs and outputs whose names Core ML does not accept."""
    changed = [f"{name} as {own}" for name, own in lowered.features.items() if name != own]
    if not changed:
        return []
    note = (
        "Core ML takes names of letters, digits and underscores alone, so these inputs and "
        f"outputs are called otherwise: {'; '.join(changed)}"
    )
    return [note]
