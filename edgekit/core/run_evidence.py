"""What a run shows besides its figures: predictions, errors of layers, calibrated ranges."""

from __future__ import annotations

from pydantic import Field

from edgekit.core.model_base import FrozenModel


class ConfusionEntry(FrozenModel):
    """Samples of one class that were taken for one class.

    Attributes:
        target: True class, by the model's index.
        predicted: Class that was predicted.
        count: Such samples, at least 1.
    """

    target: int
    predicted: int
    count: int


class ConfusionMatrix(FrozenModel):
    """Which classes were taken for which.

    Attributes:
        models: Names of everything that predicts exactly this.
        right: Samples that are right, of all classes.
        entries: Non-zero entries among the classes that are shown, by target and prediction.
    """

    models: tuple[str, ...]
    right: int
    entries: tuple[ConfusionEntry, ...]


class Flip(FrozenModel):
    """A sample for which a model predicts another class than the one before.

    Attributes:
        sample: Position in the data set.
        target: True class.
        before: Class predicted before.
        after: Class predicted now.
    """

    sample: int
    target: int
    before: int
    after: int


class FlippedSamples(FrozenModel):
    """Samples that changed from one model to another.

    Attributes:
        before: Name of the model that is compared with.
        after: Names of the models; they predict the same.
        gained: Samples that only ``after`` has right.
        lost: Samples that only ``before`` has right.
        changed: Samples for which the two predict different classes, right or not.
        shown: Some of them: those lost first, then those gained, then the others.
    """

    before: str
    after: tuple[str, ...]
    gained: int
    lost: int
    changed: int
    shown: tuple[Flip, ...]


class Picture(FrozenModel):
    """A sample as an image.

    Attributes:
        sample: Position in the data set.
        width: Of the stored image, in pixels.
        height: Of the stored image, in pixels.
        png: The image as PNG, in base64.
    """

    sample: int
    width: int
    height: int
    png: str


class PredictionSummary(FrozenModel):
    """What was predicted for the samples that accuracy was measured on.

    Attributes:
        dataset: Name of the data set with its split.
        samples: Number of samples.
        classes: Number of classes of the model.
        labels: Class names by index; empty where there are none.
        shown_classes: Classes that the matrices hold: all of them, or those with most errors.
        matrices: Of the canonical graph and of every artifact; equal ones together.
        flips: What changed from one stage to the next, and from the canonical graph to artifacts.
        pictures: Of the samples in ``flips``; empty where the data holds no images.
        picture_note: Why there are no pictures, or how they were made; empty for images as they
            are.
    """

    dataset: str
    samples: int
    classes: int
    labels: tuple[str, ...] = ()
    shown_classes: tuple[int, ...] = ()
    matrices: tuple[ConfusionMatrix, ...] = ()
    flips: tuple[FlippedSamples, ...] = ()
    pictures: tuple[Picture, ...] = ()
    picture_note: str = ""

    def label(self, index: int) -> str:
        """Name of a class, or its number where it has none."""
        return self.labels[index] if 0 <= index < len(self.labels) else str(index)


class LayerErrorPoint(FrozenModel):
    """Error of one tensor of a quantized graph.

    Attributes:
        tensor: Name in the canonical float graph.
        layer: Name of the node that makes it; empty for an input.
        operators: Types of the operators that make it.
        dtype: Type that it is stored in.
        own_db: Signal to quantization noise ratio of what the operator adds itself, in dB; None
            where nothing differs or it was not run alone.
        cumulative_db: The same of all that has come together there; None where nothing differs.
        max_abs: Largest absolute difference from the float graph.
        out_of_line: Whether its own error is beyond what its format and its neighbours explain.
    """

    tensor: str
    layer: str
    operators: tuple[str, ...] = ()
    dtype: str
    own_db: float | None
    cumulative_db: float | None
    max_abs: float
    out_of_line: bool = False


class LayerErrorSummary(FrozenModel):
    """Error of every layer of a quantized graph, beside the float graph.

    Attributes:
        scheme: Numeric form.
        step: Step that made the graph.
        dataset: Data set that both ran on.
        samples: Samples of it.
        runtime: What ran them.
        layers: In order of execution.
        verdict: What was found, in one or two sentences.
        unmatched: Why tensors were not compared, by their names.
        reason: Why there is nothing; empty where there is.
    """

    scheme: str
    step: str
    dataset: str = ""
    samples: int = 0
    runtime: str = ""
    layers: tuple[LayerErrorPoint, ...] = ()
    verdict: str = ""
    unmatched: dict[str, str] = Field(default_factory=dict)
    reason: str = ""


class CalibratedRange(FrozenModel):
    """Range of tensors that share one scale and one zero point.

    Attributes:
        tensor: The first of them in the graph.
        tensors: How many there are.
        low: Lowest real number that the integers express.
        high: Highest real number that they express.
        seen_low: Lowest element in the calibration data; None where the kernel prescribes the
            range, or the data was not observed.
        seen_high: Highest element there.
        scale: Step between two integers.
        zero_point: The integer that stands for 0.
        bits: 8 or 16.
    """

    tensor: str
    tensors: int
    low: float
    high: float
    seen_low: float | None = None
    seen_high: float | None = None
    scale: float
    zero_point: int
    bits: int = 8
