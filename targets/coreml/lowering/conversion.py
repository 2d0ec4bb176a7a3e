"""From a MIL program to the serialized model and its weights."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.lowering.graph import LoweredProgram
from edgekit.targets.coreml.lowering.options import LoweringOptions
from edgekit.targets.coreml.lowering.passes import pass_pipeline
from edgekit.targets.coreml.toolchain import coremltools as ct
from edgekit.targets.coreml.toolchain import quietly


@dataclass(frozen=True, slots=True)
class Description:
    """Texts of the model description.

    Attributes:
        summary: Short description.
        author: Author; empty where unknown.
        license: Licence; empty where unknown.
        version: Version; empty where unknown.
        entries: User-defined metadata.
    """

    summary: str
    author: str
    license: str
    version: str
    entries: Mapping[str, str]


def convert_program(
    lowered: LoweredProgram, options: LoweringOptions, pipeline: Any = None
) -> Any:
    """Coremltools' model of a program, after its passes; nothing is loaded into Core ML.

    Raises:
        UnsupportedError: If coremltools fails.
    """
    precision = ct.precision.FLOAT16 if options.compute == "float16" else ct.precision.FLOAT32
    classifier = None
    if lowered.classifier is not None:
        classifier = ct.ClassifierConfig(
            list(lowered.classifier.labels),
            predicted_probabilities_output=lowered.classifier.probabilities,
        )
    # Progress bars go to stderr and ignore logging.
    with quietly(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        try:
            return ct.convert(
                lowered.program,
                source="milinternal",
                convert_to="mlprogram",
                minimum_deployment_target=getattr(ct.target, options.deployment_target),
                compute_precision=precision,
                pass_pipeline=pipeline or pass_pipeline(),
                inputs=list(lowered.inputs) or None,
                classifier_config=classifier,
                skip_model_load=True,
            )
        except Exception as error:
            # Its passes raise ValueError, AssertionError, KeyError and others alike.
            raise UnsupportedError(
                f"coremltools {ct.__version__} cannot write the program: "
                f"{' '.join(str(error).split())[:500]}. Please report the model."
            ) from error


def serialized(model: Any, description: Description) -> tuple[bytes, Path | None]:
    """The model's bytes, the same for the same content, and where its weights lie now.

    Args:
        model: From `convert_program`; its description is changed.
        description: Texts to write.
    """
    spec = model.get_spec()
    texts = spec.description.metadata
    texts.shortDescription = description.summary
    texts.author = description.author
    texts.license = description.license
    texts.versionString = description.version
    for name, text in sorted(description.entries.items()):
        texts.userDefined[name] = text
    folder = Path(model.weights_dir) if model.weights_dir else None
    weights = folder / "weight.bin" if folder is not None else None
    if weights is not None and not weights.is_file():
        weights = None
    return spec.SerializeToString(deterministic=True), weights
