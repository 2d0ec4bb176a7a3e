"""Between the canonical graph's inputs and outputs and a package's features."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

import numpy as np

from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import DType, ModelSignature, TensorSpec
from edgekit.errors import InputError
from edgekit.targets.coreml.embedded import EmbeddedMetadata, decode
from edgekit.targets.coreml.package import Package
from edgekit.targets.coreml.package.description import Feature

type Array = Any


@dataclass(frozen=True, slots=True)
class InterfaceMap:
    """How feeds become features and results become outputs.

    Attributes:
        signature: Inputs and outputs in the canonical graph's terms.
        features: Name of the feature of each.
        image: Feature that takes pixels; empty where none does.
        preprocessing: How pixels become what the canonical graph is fed; None where it is fed
            something else.
        embedded: What edgekit wrote into the package; None in another tool's.
    """

    signature: ModelSignature
    features: Mapping[str, str]
    image: str
    preprocessing: Preprocessing | None
    embedded: EmbeddedMetadata | None

    @classmethod
    def of(cls, package: Package) -> InterfaceMap:
        """The map of a package; of another tool's one its own features.

        Raises:
            InputError: If edgekit's entry in it is damaged, or names features that are not there.
        """
        description = package.description
        embedded = decode(dict(description.entries), str(package.path))
        known = {item.name for item in (*description.inputs, *description.outputs)}
        if embedded is None:
            signature = _own_signature(package)
            specs = (*signature.inputs, *signature.outputs)
            return cls(signature, {spec.name: spec.name for spec in specs}, "", None, None)
        missing = sorted(set(embedded.features.values()) - known)
        if missing:
            raise InputError(
                f"{package.path} has no input or output {missing[0]!r}, which its metadata names. "
                "Convert the model again."
            )
        declared = embedded.metadata.preprocessing
        return cls(
            embedded.signature, embedded.features, embedded.image,
            declared if isinstance(declared, Preprocessing) else None, embedded,
        )  # fmt: skip

    def stored(self, feeds: Mapping[str, Array]) -> dict[str, Array]:
        """Feeds as the package takes them.

        Raises:
            InputError: If an integer does not fit in 32 bits.
        """
        found = {}
        for spec in self.signature.inputs:
            feature = self.features[spec.name]
            array = np.asarray(feeds[spec.name])
            if feature == self.image and self.preprocessing is not None:
                found[feature] = _pixels(array, self.preprocessing)
            else:
                found[feature] = _stored(spec.name, array)
        return found

    def restored(self, results: Mapping[str, Array]) -> dict[str, Array]:
        """Results in the shapes and types of the canonical graph."""
        found = {}
        for spec in self.signature.outputs:
            result = results[self.features[spec.name]]
            if not isinstance(result, np.ndarray):
                found[spec.name] = result
                continue
            array = result.reshape(()) if not spec.shape else result
            found[spec.name] = _restored(array, spec.dtype)
        return found


def _stored(name: str, array: Array) -> Array:
    if array.dtype.kind not in "iub":
        floats = np.asarray(array, np.float32)
    else:
        if array.dtype.itemsize == 8 or array.dtype == np.uint32:
            limits = np.iinfo(np.int32)
            if array.size and (array.max() > limits.max or array.min() < limits.min):
                raise InputError(
                    f"Input {name!r} holds {array.max()}, but Core ML's integers have 32 bits."
                )
        floats = np.asarray(array, np.int32)
    return floats.reshape(floats.shape or (1,))


def _restored(array: Array, dtype: str) -> Array:
    if dtype == "bfloat16":
        import ml_dtypes

        return array.astype(ml_dtypes.bfloat16)
    if dtype == "bool":
        return array != 0
    return array.astype(np.dtype(dtype))


def _pixels(array: Array, preprocessing: Preprocessing) -> Array:
    """The pixels that preprocessing makes these values of: ``(value * std + mean) / scale``."""
    mean = np.reshape(preprocessing.mean, (1, -1, 1, 1))
    std = np.reshape(preprocessing.std, (1, -1, 1, 1))
    pixels = (np.asarray(array, np.float64) * std + mean) / preprocessing.scale
    return np.asarray(pixels, np.float32)


def _own_signature(package: Package) -> ModelSignature:
    description = package.description
    return ModelSignature(
        inputs=tuple(_spec(item) for item in description.inputs),
        outputs=tuple(_spec(item) for item in description.outputs if item.kind == "array"),
    )


def _spec(feature: Feature) -> TensorSpec:
    sizes = tuple("?" if size is None else size for size in feature.open_shape())
    if feature.kind not in {"array", "image"}:
        raise InputError(
            f"Input {feature.name!r} is of kind {feature.kind}; edgekit feeds arrays and images."
        )
    dtype = cast("DType", feature.dtype or "float32")
    return TensorSpec(name=feature.name, shape=sizes, dtype=dtype)
