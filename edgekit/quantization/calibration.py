"""Observing the values of the float graph while calibration data passes through it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx_ir as ir

from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.stage import Note
from edgekit.errors import InputError
from edgekit.graph.values import Array
from edgekit.quantization.affine import FloatArray
from edgekit.quantization.calibration_state import SavedState, load_state, save_state
from edgekit.quantization.observed_model import ObservedModel, check_finite
from edgekit.quantization.observers import HistogramObserver, MovingAverageObserver
from edgekit.quantization.parameters import ValueRange
from edgekit.quantization.placement import Placement, ValueGroup
from edgekit.quantization.range_rules import METHODS, Method, RangeRule, ValueStatistics

type Feeds = Mapping[str, Array]

_WITH_HISTOGRAM = frozenset({"percentile", "mse", "entropy"})


@dataclass(frozen=True, slots=True)
class CalibrationOptions:
    """How calibration data is taken in.

    Attributes:
        methods: Methods whose statistics are kept.
        rate: Weight of a new batch in the moving average.
        state: File for the statistics, so that an interrupted calibration continues; None
            keeps them in memory only.
        save_every: Batches between two saves.
    """

    methods: Sequence[Method] = METHODS
    rate: float = 0.1
    state: Path | None = None
    save_every: int = 16


@dataclass(slots=True)
class Calibration:
    """Statistics of all observed values; they serve any placement of the same graph.

    Attributes:
        statistics: By name of the value.
        origins: For every quantized value the observed values that its elements come from.
        batches: Batches taken in.
        samples: Samples taken in.
    """

    statistics: dict[str, ValueStatistics]
    origins: dict[str, tuple[str, ...]]
    batches: int = 0
    samples: int = 0

    def ranges(
        self, method: Method, placement: Placement, percentile: float = 99.99
    ) -> dict[str, ValueRange]:
        """The range of each calibrated group of ``placement``.

        Args:
            method: How it is chosen; its statistics must have been kept.
            placement: The one that was calibrated with, or another of the same graph that
                quantizes no other values.
            percentile: Share of the elements that the method percentile keeps, in percent.
        """
        rule = RangeRule(method, percentile, placement.scale_format)
        return {
            group.name: rule.range_of(self._observed(group), group.scheme)
            for group in placement.calibrated_groups()
        }

    def extremes(self, placement: Placement) -> dict[str, ValueRange]:
        """Lowest and highest element that was seen of each calibrated group of ``placement``."""
        found = {}
        for group in placement.calibrated_groups():
            kept = [item.minmax for item in self._observed(group)]
            found[group.name] = ValueRange(
                min(item.low for item in kept), max(item.high for item in kept)
            )
        return found

    def _observed(self, group: ValueGroup) -> list[ValueStatistics]:
        names: dict[str, None] = {}
        for source in group.sources:
            observed = (source,) if source in self.statistics else self.origins[source]
            names.update(dict.fromkeys(observed))
        return [self.statistics[name] for name in names]

    def require_variety(self, inputs: Sequence[str]) -> None:
        """Refuses samples that say nothing of the model's ranges.

        Args:
            inputs: Names of all inputs of the model.

        Raises:
            InputError: If each input is one and the same number in all samples.
        """
        kept = {name: self.statistics[name].minmax for name in inputs if name in self.statistics}
        if not kept or len(kept) < len(inputs):
            return
        if all(item.low == item.high for item in kept.values()):
            numbers = ", ".join(f"input {name!r} is {item.low:g}" for name, item in kept.items())
            raise InputError(
                f"The calibration samples never change: {numbers} in every element of all "
                f"{self.samples} samples, so no range can be taken from them. Give real inputs, "
                "preprocessed as the model expects"
            )

    def notes(self) -> tuple[Note, ...]:
        """Tells which values never changed."""
        notes = []
        for name, kept in self.statistics.items():
            if kept.minmax.low == kept.minmax.high:
                text = (
                    f"Always {kept.minmax.low:g} in the calibration data; any other value it "
                    "takes later may be clipped"
                )
                notes.append(Note(level="warning", where=name, text=text))
        return tuple(notes)


def calibrate(
    model: ir.Model,
    placement: Placement,
    feeds: Iterable[Feeds],
    options: CalibrationOptions | None = None,
    progress: Progress | None = None,
) -> Calibration:
    """Observes the values of a placement; memory does not grow with the number of batches.

    Args:
        model: Float graph that the placement was made for; not modified.
        placement: Says which values are observed.
        feeds: Batches by input name. With ``options.state`` they have to come in the same
            order again when an interrupted calibration continues.
        options: What is kept.
        progress: Advances by one a batch.

    Raises:
        InputError: If there are no batches, one has the wrong shape or holds NaN or infinity,
            the model computes NaN or infinity from one, or the state is of something else.
    """
    options = options or CalibrationOptions()
    progress = progress or SilentProgress()
    names = placement.observed_values()
    calibration = Calibration(
        {name: _new_statistics(options) for name in names},
        {member: group.sources for group in placement.groups for member in group.members},
    )
    digest = hashlib.sha256()
    saved = _resume(model, placement, options, calibration)
    seen = 0
    progress.start("Calibrate", None)
    try:
        with ObservedModel(model, names) as observed:
            for index, batch in enumerate(feeds):
                seen = index + 1
                check_finite(batch, index)
                _add_to_digest(digest, batch)
                if index < saved.batches:
                    _check_digest(saved, index, digest.hexdigest(), options)
                    continue
                _observe(observed, batch, index, calibration)
                calibration.batches += 1
                calibration.samples += _batch_size(batch)
                progress.advance()
                if options.state is not None and calibration.batches % options.save_every == 0:
                    _save(model, placement, options, calibration, digest.hexdigest())
    finally:
        progress.finish()
    if seen < saved.batches:
        raise InputError(_other_set(saved, options))
    if not calibration.batches:
        raise InputError(
            "The calibration set is empty: it gave no batches. Give at least one sample of "
            "real input data"
        )
    if options.state is not None:
        _save(model, placement, options, calibration, digest.hexdigest())
    return calibration


def _new_statistics(options: CalibrationOptions) -> ValueStatistics:
    kept = ValueStatistics()
    if "moving-average" in options.methods:
        kept.average = MovingAverageObserver(options.rate)
    if _WITH_HISTOGRAM & set(options.methods):
        kept.histogram = HistogramObserver()
    return kept


def _observe(observed: ObservedModel, batch: Feeds, index: int, calibration: Calibration) -> None:
    """Runs one batch; the parts of a large one count as batches for the moving average."""
    if not _batch_size(batch):
        raise InputError(f"Calibration batch {index} has no samples")
    for part in observed.run(batch):
        for name, kept in calibration.statistics.items():
            array: FloatArray = np.asarray(part[name])
            _check_values(name, array, index)
            for observer in kept.observers:
                observer.update(array)


def _check_values(name: str, array: FloatArray, batch: int) -> None:
    # Minimum and maximum are NaN when an element is; that is far cheaper than a mask of all.
    if not (np.isfinite(array.min()) and np.isfinite(array.max())):
        raise InputError(
            f"The model computes NaN or infinity in {name!r} from calibration batch {batch}. "
            "Check that the inputs are preprocessed as the model expects"
        )


def _batch_size(batch: Feeds) -> int:
    sizes = [array.shape[0] for array in batch.values() if array.ndim]
    return max(sizes, default=1)


def _add_to_digest(digest: hashlib._Hash, batch: Feeds) -> None:
    for name in sorted(batch):
        digest.update(f"{name}{batch[name].shape}{batch[name].dtype}".encode())
        digest.update(np.ascontiguousarray(batch[name]).tobytes())


def _identity(model: ir.Model, placement: Placement, options: CalibrationOptions) -> str:
    """Changes whenever saved statistics would mean something else."""
    digest = hashlib.sha256(ir.to_proto(model).SerializeToString(deterministic=True))
    kept = [type(item).name for item in _new_statistics(options).observers]
    sources = placement.observed_values()
    digest.update(repr((kept, options.rate, sources)).encode())
    return digest.hexdigest()


def _resume(
    model: ir.Model, placement: Placement, options: CalibrationOptions, calibration: Calibration
) -> SavedState:
    if options.state is None or not options.state.exists():
        return SavedState("", 0, 0, "")
    saved, arrays = load_state(options.state)
    if saved.identity != _identity(model, placement, options):
        raise InputError(
            f"{options.state} holds calibration statistics of another model or of other "
            "options. Delete it or name another file"
        )
    for number, kept in enumerate(calibration.statistics.values()):
        for observer in kept.observers:
            prefix = f"{number}/{observer.name}/"
            observer.restore(
                {
                    name.removeprefix(prefix): array
                    for name, array in arrays.items()
                    if name.startswith(prefix)
                }
            )
    calibration.batches, calibration.samples = saved.batches, saved.samples
    return saved


def _save(
    model: ir.Model,
    placement: Placement,
    options: CalibrationOptions,
    calibration: Calibration,
    feeds_digest: str,
) -> None:
    assert options.state is not None
    arrays = {
        f"{number}/{observer.name}/{name}": array
        for number, kept in enumerate(calibration.statistics.values())
        for observer in kept.observers
        for name, array in observer.state().items()
    }
    identity = _identity(model, placement, options)
    saved = SavedState(identity, calibration.batches, calibration.samples, feeds_digest)
    save_state(options.state, saved, arrays)


def _check_digest(saved: SavedState, index: int, digest: str, options: CalibrationOptions) -> None:
    if index == saved.batches - 1 and digest != saved.feeds_digest:
        raise InputError(_other_set(saved, options))


def _other_set(saved: SavedState, options: CalibrationOptions) -> str:
    return (
        f"{options.state} holds statistics of {saved.batches} batches of another calibration "
        "set. Delete it or name another file"
    )
