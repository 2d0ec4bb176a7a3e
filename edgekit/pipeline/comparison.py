"""Layer-by-layer comparison of artifacts on disk and torch sources, whatever their forms."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from pydantic import Field

from edgekit.core.layer_error import ArtifactErrors, LayerComparison
from edgekit.core.metadata import ModelMetadata
from edgekit.core.metrics import Unavailable
from edgekit.core.model_base import FrozenModel
from edgekit.core.progress import Progress
from edgekit.core.signature import ModelSignature
from edgekit.data.contract import DataSpec
from edgekit.errors import ConfigError, InputError, MissingToolError, UnsupportedError, UsageError
from edgekit.pipeline.model_files import ONNX_SUFFIX, require_model_file, target_of
from edgekit.pipeline.registry import get_target, target_info, target_names

if TYPE_CHECKING:
    import onnx_ir as ir

    from edgekit.core.observation import ObservableSession
    from edgekit.core.target import Target
    from edgekit.data.model_inputs import InputBatch, ModelInputs
    from edgekit.measure.layer_comparison import Subject
    from edgekit.measure.remedy_trials import TrialMaterial

_QDQ_SUFFIX = ".qdq.onnx"
_COREML = "coreml"


class CompareOptions(FrozenModel):
    """How artifacts are compared."""

    samples: int = Field(
        16, ge=1, description="Samples of the data set to compare on, spread over it."
    )
    try_remedies: bool = Field(
        False,
        description="Try what is suggested about the first culprit: quantize the reference with "
        "it and show the error and accuracy after.",
    )
    calibration: DataSpec | None = Field(
        None,
        description="Data set to calibrate with when remedies are tried; by default the training "
        "split of the set that is compared on.",
    )
    calibration_samples: int = Field(
        128, ge=1, description="Samples calibrated with when remedies are tried."
    )
    weights: Path | None = Field(
        None, description="State dict of the torch source: .pth, .pt or .safetensors."
    )
    inputs: tuple[str, ...] = Field(
        (), description="Input of the torch source as NAME:1x3x224x224; once for each input."
    )


@dataclass(frozen=True, slots=True)
class _Opened:
    """A source, ready to be compared.

    Attributes:
        subject: For the comparison.
        metadata: What travels with it.
        model: Its canonical float graph; None where it is none.
    """

    subject: Subject
    metadata: ModelMetadata
    model: ir.Model | None = None


def compare_sources(
    sources: Sequence[str],
    data: DataSpec,
    options: CompareOptions | None = None,
    progress: Progress | None = None,
) -> LayerComparison:
    """Compares artifacts with a reference, layer by layer.

    Args:
        sources: The reference and at least one artifact: ``.onnx``, ``.qdq.onnx``, ``.tflite``,
            ``.mlpackage``, or a torch source such as ``file.py:factory`` or ``timm:NAME``.
        data: Samples to compare on; they go through the preprocessing that travels with the
            reference, or else with the first artifact that has one.
        options: How.
        progress: Receives the advance.

    Raises:
        UsageError: If there are fewer than two sources, or one appears twice.
        InputError: If a file is missing or damaged, the data is empty or holds NaN, or an
            artifact is of another model.
        ConfigError: If remedies are to be tried and the reference is no float graph.
        UnsupportedError: If a runtime refuses an artifact.
        MissingToolError: If a runtime is not installed.
    """
    from edgekit.measure.layer_comparison import compare_layers

    options = options or CompareOptions()
    _check(sources)
    with ExitStack() as stack:
        opened = [_open(source, options, stack) for source in sources]
        reference, *artifacts = opened
        samples = _Samples.of(opened, data, options)
        if options.try_remedies and reference.model is None:
            raise ConfigError(
                f"Remedies are tried by quantizing the reference, but {reference.subject.name} is "
                "no float graph. Give the float .onnx or the torch source first."
            )
        result = compare_layers(
            reference.subject,
            [item.subject for item in artifacts],
            samples.batches(),
            samples.inputs.name,
            progress,
        )
        if options.try_remedies:
            tried = tuple(
                _tried(errors, item, samples, progress)
                for errors, item in zip(
                    result.artifacts, [(reference, one) for one in artifacts], strict=True
                )
            )
            result = result.model_copy(update={"artifacts": tried})
        return result


def _check(sources: Sequence[str]) -> None:
    if len(sources) < 2:
        raise UsageError(
            "A comparison needs a reference and at least one artifact: edgekit compare A B."
        )
    for source in sources:
        if sources.count(source) > 1 and source == sources[0]:
            raise UsageError(f"{source} is compared with itself; name another artifact.")


def _open(source: str, options: CompareOptions, stack: ExitStack) -> _Opened:
    path = Path(source)
    if path.suffix == ONNX_SUFFIX:
        opened = _open_onnx(path)
    elif path.exists() or path.suffix in _target_suffixes():
        opened = _open_artifact(path)
    else:
        opened = _open_torch(source, options)
    stack.callback(opened.subject.session.close)
    return opened


def _target_suffixes() -> set[str]:
    return {target_info(name).suffix for name in target_names()}


def _open_onnx(path: Path) -> _Opened:
    """A float or QDQ graph node by node; an artifact for ONNX Runtime as it is deployed.

    Float graphs are compared in their canonical form, which artifacts are lowered from: where
    BatchNorm is folded, the convolution's value stands for what came behind it.
    """
    from edgekit.graph.canonicalize import canonicalize
    from edgekit.graph.io import load_onnx, read_metadata
    from edgekit.graph.observed_graph import ObservedGraph, runtime_name
    from edgekit.graph.quantized import is_quantized
    from edgekit.measure.layer_comparison import Subject

    require_model_file(path)
    model = load_onnx(path)
    quantized = is_quantized(model)
    if quantized and not path.name.endswith(_QDQ_SUFFIX):
        return _open_artifact(path)
    metadata = read_metadata(model)
    if not quantized:
        model = canonicalize(model).model
    session = ObservedGraph(model, runtime_name())
    subject = Subject(path.name, "qdq" if quantized else "onnx", session)
    return _Opened(subject, metadata, None if quantized else model)


def _open_artifact(path: Path) -> _Opened:
    from edgekit.measure.layer_comparison import Subject

    target = target_of(path)
    session = _observed(target, path)
    metadata = target.inspect(path).metadata or ModelMetadata()
    return _Opened(Subject(path.name, target.info.name, session), metadata)


def _observed(target: Target, path: Path) -> ObservableSession:
    observe = getattr(target, "observe", None)
    if observe is None:
        raise UnsupportedError(
            f"Target {target.info.name!r} does not show the inner tensors of {path}, so its "
            "layers cannot be compared; compare outputs with edgekit eval."
        )
    session: ObservableSession | Unavailable = observe(path)
    if isinstance(session, Unavailable):
        raise MissingToolError(f"{path} cannot be compared: {session.reason}")
    return session


def _open_torch(source: str, options: CompareOptions) -> _Opened:
    from edgekit.graph.importers import ImportRequest, import_model, parse_input
    from edgekit.graph.io import read_metadata
    from edgekit.graph.torch_twin.observed_twin import ObservedTwin
    from edgekit.measure.layer_comparison import Subject

    if ":" not in source and not source.endswith(".pt2"):
        require_model_file(Path(source))
    request = ImportRequest(
        source=source,
        weights=options.weights,
        inputs=tuple(parse_input(text) for text in options.inputs),
    )
    model = import_model(request).model
    place, colon, factory = source.partition(".py:")
    name = f"{Path(place).name}{colon}{factory}" if colon else Path(source).name
    return _Opened(Subject(name, "torch", ObservedTwin(model)), read_metadata(model), model)


@dataclass(frozen=True, slots=True)
class _Samples:
    """The samples that are compared on.

    Attributes:
        inputs: The set, as feeds of the reference.
        order: Positions of the samples.
        size: Samples in one run.
        classes: Class of the model by class of the set; None where they are the same.
        calibration: Starts a pass over the calibration data.
    """

    inputs: ModelInputs
    order: tuple[int, ...]
    size: int
    classes: Any
    calibration: Callable[[], Iterator[Mapping[str, Any]]]

    @classmethod
    def of(cls, opened: Sequence[_Opened], data: DataSpec, options: CompareOptions) -> _Samples:
        """Opens the data for the reference."""
        from edgekit.data.image_set import spread
        from edgekit.data.model_inputs import open_inputs
        from edgekit.measure.class_names import match_classes

        signature = opened[0].subject.session.signature
        metadata = [item.metadata for item in opened]
        preprocessing = next((m.preprocessing for m in metadata if m.preprocessing), None)
        labels = next((m.labels for m in metadata if m.labels), ())
        inputs = open_inputs(data, signature, preprocessing)
        if len(inputs) == 0:
            raise InputError(f"Data set {inputs.name!r} is empty; there is nothing to compare on.")
        classes, _ = match_classes(inputs.classes, labels) if inputs.classes else (None, ())

        def calibration() -> Iterator[Mapping[str, Any]]:
            spec = options.calibration or data.model_copy(update={"split": "train"})
            chosen = open_inputs(spec, signature, preprocessing)
            positions = spread(len(chosen), options.calibration_samples).tolist()
            for batch in chosen.batches(_one_batch(opened), positions):
                yield batch.feeds

        order = tuple(spread(len(inputs), options.samples).tolist())
        return cls(inputs, order, _one_batch(opened), classes, calibration)

    def batches(self) -> Iterable[InputBatch]:
        """A pass over the samples, with the classes of the model."""
        for batch in self.inputs.batches(self.size, self.order):
            labels = batch.labels
            if labels is not None and self.classes is not None:
                labels = self.classes[labels]
            yield replace(batch, labels=labels)


def _one_batch(opened: Sequence[_Opened]) -> int:
    """Samples in one run: what one of the artifacts fixes, or else 1.

    Raises:
        InputError: If two of them fix different ones.
    """
    from edgekit.data.model_inputs import fixed_batch

    signatures: list[tuple[str, ModelSignature]] = [
        (item.subject.name, item.subject.session.signature) for item in opened
    ]
    sizes = {name: size for name, item in signatures if (size := fixed_batch(item)) is not None}
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{name}: {size}" for name, size in sizes.items())
        raise InputError(
            f"The artifacts fix different batches ({listed}), so they cannot run on the same "
            "inputs. Convert them with one batch."
        )
    return next(iter(sizes.values()), 1)


def _tried(
    errors: ArtifactErrors,
    pair: tuple[_Opened, _Opened],
    samples: _Samples,
    progress: Progress | None,
) -> ArtifactErrors:
    from edgekit.measure.remedy_trials import try_remedies

    if not errors.remedies:
        return errors
    return try_remedies(errors, _material(pair, samples), progress)


def _material(pair: tuple[_Opened, _Opened], samples: _Samples) -> TrialMaterial:
    from edgekit.measure.remedy_trials import TrialMaterial

    reference, artifact = pair
    assert reference.model is not None
    material = TrialMaterial(
        model=reference.model,
        reference=reference.subject,
        calibration=samples.calibration,
        batches=samples.batches,
        dataset=samples.inputs.name,
        scale_format="float16" if artifact.subject.format == _COREML else "float32",
    )
    if artifact.subject.format in target_names():
        material = replace(material, make=partial(_lowered, artifact.subject.format))
    return material


@contextmanager
def _lowered(target_name: str, model: ir.Model, scheme: str) -> Iterator[Subject]:
    """A QDQ graph as an artifact of a target, opened: what a remedy gives is what can be shipped.

    Raises:
        MissingToolError: If the target cannot convert or run here.
        UnsupportedError: If the target has no such layers.
    """
    from edgekit.core.artifact import Artifact, ArtifactKind
    from edgekit.core.target import LowerConfig
    from edgekit.graph.io import save_onnx
    from edgekit.measure.layer_comparison import Subject

    target = get_target(target_name)
    with TemporaryDirectory() as folder:
        path = Path(folder) / f"trial{_QDQ_SUFFIX}"
        save_onnx(model, path)
        source = Artifact.of(ArtifactKind.QDQ_ONNX, path)
        config = LowerConfig.model_validate({"precision": scheme})
        made = target.lower(source, config, Path(folder))
        if isinstance(made, Unavailable):
            raise MissingToolError(made.reason)
        session = _observed(target, made.artifact.path)
        try:
            yield Subject(made.artifact.path.name, target_name, session)
        finally:
            session.close()
