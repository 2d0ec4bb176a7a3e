"""Smaller weights for a package that is there: palettes and zeros, through coremltools.

The result is executed beside the original, and the difference told; accuracy is for
``edgekit eval`` to tell.
"""

from __future__ import annotations

import shutil
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from io import StringIO
from pathlib import Path
from typing import Any, Literal

import numpy as np

from edgekit.core.artifact import size_on_disk
from edgekit.core.target import RuntimeConfig
from edgekit.errors import ConfigError, UnsupportedError
from edgekit.measure.feeds import random_feeds
from edgekit.targets.coreml.embedded import decode, encode
from edgekit.targets.coreml.lowering.conversion import Description, serialized
from edgekit.targets.coreml.package import Package, read_package
from edgekit.targets.coreml.saving import write_package
from edgekit.targets.coreml.session import MilSession
from edgekit.targets.coreml.toolchain import coremltools as ct
from edgekit.targets.coreml.toolchain import quietly

PALETTE_BITS = (1, 2, 3, 4, 6, 8)
_GROUPED = 9
"""Specification version of iOS18, the first with palettes by groups of channels."""
_SAMPLES = 2
_LEAST_ELEMENTS = 128
_LEAST_ZEROS = 0.2
"""Share of zeros from which the sparse form is taken: its mask costs a bit a weight."""
_OF_ZEROS = f" of which {_LEAST_ZEROS:.0%} or more are 0"


@dataclass(frozen=True, slots=True)
class Palette:
    """Weights as indices into a table.

    Attributes:
        bits: Bits of an index.
        mode: Tables of equal distances, or of the centres of k-means clusters.
        group_size: Output channels that share a table; None for one table a tensor.
    """

    bits: int
    mode: Literal["uniform", "kmeans"] = "kmeans"
    group_size: int | None = None


@dataclass(frozen=True, slots=True)
class Sparsity:
    """Weights of which the smallest become 0 and are not stored.

    Attributes:
        share: Share that becomes 0.
        pattern: Zeros in each so many neighbours, for example ``(2, 4)``; None for any places.
    """

    share: float = 0.5
    pattern: tuple[int, int] | None = None


@dataclass(frozen=True, slots=True)
class Zeros:
    """Weights that are 0 already and are not stored any more; none becomes 0."""


type How = Palette | Sparsity | Zeros
"""What is done to the weights."""


@dataclass(frozen=True, slots=True)
class Compressed:
    """What became of a package.

    Attributes:
        path: The new package.
        bytes_before: Size of the original.
        bytes_after: Size of the new one.
        sqnr_db: Signal-to-noise ratio of the outputs against those of the original on seeded
            random inputs, in dB; infinite where nothing changed.
        operators: Compressed constants by type.
    """

    path: Path
    bytes_before: int
    bytes_after: int
    sqnr_db: float
    operators: dict[str, int]


def compress_package(source: Path, output: Path, how: How) -> Compressed:
    """Compresses the weights of a package.

    Args:
        source: Package with float weights.
        output: Package to write.
        how: Palettes, zeros that are made, or zeros that are there.

    Raises:
        ConfigError: If the choice does not exist, or the package is for older systems.
        InputError: If the package is missing or damaged, or ``output`` cannot be written.
        UnsupportedError: If coremltools fails.
    """
    package = read_package(source)
    _check(how, package.specification_version)
    # Progress bars go to stderr and ignore logging.
    with quietly(), redirect_stderr(StringIO()), redirect_stdout(StringIO()):
        model = ct.models.MLModel(str(source), skip_model_load=True)
        try:
            made = _compressed(model, how)
        except Exception as error:
            # Its passes raise ValueError, AssertionError and others alike.
            raise UnsupportedError(
                f"coremltools {ct.__version__} cannot compress {source}: "
                f"{' '.join(str(error).split())[:300]}"
            ) from error
    described = package.description
    embedded = decode(dict(described.entries), str(source))
    entries = dict(described.entries)
    if embedded is not None:
        # Integers and scales of a QDQ graph are not what these weights are any more.
        provenance = {**embedded.provenance, "compressed": str(how)}
        kept = embedded.model_copy(update={"origins": (), "provenance": provenance})
        entries |= encode(kept)
    texts = Description(
        described.summary, described.author, described.license, described.version, entries
    )
    try:
        if not _operators(read_package(Path(made.package_path))):
            raise UnsupportedError(
                f"{source} has no float weights of at least {_LEAST_ELEMENTS} elements"
                f"{_OF_ZEROS if isinstance(how, Zeros) else ''}, so there is nothing to compress."
            )
        content, weights = serialized(made, texts)
        write_package(output, content, weights)
    finally:
        shutil.rmtree(made.package_path, ignore_errors=True)
    return Compressed(
        path=output,
        bytes_before=size_on_disk(source),
        bytes_after=size_on_disk(output),
        sqnr_db=_sqnr(source, output),
        operators=_operators(read_package(output)),
    )


def _check(how: How, version: int) -> None:
    if isinstance(how, Zeros):
        return
    if isinstance(how, Sparsity):
        if not 0 < how.share < 1:
            raise ConfigError(f"A share of {how.share} zeros is none; choose one between 0 and 1.")
        return
    if how.bits not in PALETTE_BITS:
        raise ConfigError(
            f"There are no palettes of {how.bits} bits; choose "
            f"{', '.join(map(str, PALETTE_BITS))}."
        )
    if version < _GROUPED and (how.group_size is not None or how.bits == 3):
        raise ConfigError(
            "Palettes by groups of channels or of 3 bits need iOS18; convert the model with "
            "--deployment-target iOS18."
        )


def _compressed(model: Any, how: How) -> Any:
    import coremltools.optimize.coreml as tools

    if isinstance(how, Sparsity):
        options: dict[str, Any] = {"target_sparsity": how.share}
        if how.pattern is not None:
            options = {"n_m_ratio": how.pattern}
        op = tools.OpMagnitudePrunerConfig(**options, weight_threshold=_LEAST_ELEMENTS)
        return tools.prune_weights(model, tools.OptimizationConfig(global_config=op))
    if isinstance(how, Zeros):
        # Weights up to the threshold become 0, so that 0 makes none.
        threshold = tools.OpThresholdPrunerConfig(
            threshold=0.0,
            minimum_sparsity_percentile=_LEAST_ZEROS,
            weight_threshold=_LEAST_ELEMENTS,
        )
        return tools.prune_weights(model, tools.OptimizationConfig(global_config=threshold))
    grouped = {}
    if how.group_size is not None:
        grouped = {"granularity": "per_grouped_channel", "group_size": how.group_size}
    palette = tools.OpPalettizerConfig(
        mode=how.mode, nbits=how.bits, weight_threshold=_LEAST_ELEMENTS, **grouped
    )
    return tools.palettize_weights(model, tools.OptimizationConfig(global_config=palette))


def _sqnr(source: Path, output: Path) -> float:
    signal = noise = 0.0
    before, after = (MilSession(path, RuntimeConfig()) for path in (source, output))
    for seed in range(_SAMPLES):
        feeds = random_feeds(before.signature, seed)
        wanted, got = before.run(feeds), after.run(feeds)
        for name, array in wanted.items():
            whole = np.asarray(array, np.float64)
            signal += float((whole**2).sum())
            noise += float(((whole - np.asarray(got[name], np.float64)) ** 2).sum())
    if not noise:
        return float("inf")
    return float(10 * np.log10(signal / noise)) if signal else float("-inf")


def _operators(package: Package) -> dict[str, int]:
    found: dict[str, int] = {}
    for function in package.program.functions.values():
        for operation in function.block.operations:
            if operation.type.startswith("constexpr_"):
                found[operation.type] = found.get(operation.type, 0) + 1
    return found
