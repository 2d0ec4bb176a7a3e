"""What edgekit writes into a package besides the program, and reads back.

All of it lies in the ``userDefined`` metadata of the model description under one key.
"""

from __future__ import annotations

from pydantic import Field, ValidationError

from edgekit.core.metadata import METADATA_KEY, ModelMetadata
from edgekit.core.model_base import FrozenModel
from edgekit.core.signature import ModelSignature
from edgekit.errors import InputError
from edgekit.targets.coreml.estimate.features import Features


class StoredOrigin(FrozenModel):
    """Which value of the QDQ graph a variable of the program holds.

    Attributes:
        variable: Name in the program as it was lowered; precision may have added to it.
        value: Name in the graph.
        role: ``"weight"``, ``"quantize"`` or ``"dequantize"``.
    """

    variable: str
    value: str
    role: str


class EmbeddedMetadata(FrozenModel):
    """The JSON that a package of edgekit holds.

    Attributes:
        metadata: What travels with the model.
        signature: Inputs and outputs of the canonical graph.
        features: Name of the feature of each of them.
        image: Name of the feature that takes images; empty where none does.
        compute: Type of floats within the program.
        deployment_target: Oldest system that loads the package.
        provenance: edgekit's version, the graph's digest and how it was lowered.
        origins: Quantized variables.
        float_reasons: Why nodes of a quantized graph compute in float, by node name.
        costs: What one inference costs, for estimates; None where it cannot be counted.
    """

    metadata: ModelMetadata
    signature: ModelSignature
    features: dict[str, str]
    image: str = ""
    compute: str = "float16"
    deployment_target: str = ""
    provenance: dict[str, str] = Field(default_factory=dict)
    origins: tuple[StoredOrigin, ...] = ()
    float_reasons: dict[str, str] = Field(default_factory=dict)
    costs: Features | None = None


def encode(embedded: EmbeddedMetadata) -> dict[str, str]:
    """Entries for the model description's user-defined metadata."""
    return {METADATA_KEY: embedded.model_dump_json(exclude_defaults=True)}


def decode(entries: dict[str, str], path: str) -> EmbeddedMetadata | None:
    """What edgekit wrote; None in a package of another tool.

    Raises:
        InputError: If the entry is there but damaged.
    """
    text = entries.get(METADATA_KEY)
    if text is None:
        return None
    try:
        return EmbeddedMetadata.model_validate_json(text)
    except ValidationError as error:
        problem = error.errors()[0]
        raise InputError(
            f"The metadata {METADATA_KEY!r} in {path} is damaged: "
            f"{'.'.join(map(str, problem['loc']))}: {problem['msg']}. Convert the model again."
        ) from error
