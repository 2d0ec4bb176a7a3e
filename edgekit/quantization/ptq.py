"""Post-training quantization of a canonical graph: from calibration data to the QDQ graph."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import onnx_ir as ir

from edgekit.core.progress import Progress, SilentProgress
from edgekit.core.quant import QuantConstraints, QuantScheme
from edgekit.core.stage import Note
from edgekit.errors import ConfigError
from edgekit.quantization.bias_correction import correct_biases, give_biases
from edgekit.quantization.calibration import CalibrationOptions, Feeds, calibrate
from edgekit.quantization.candidates import Candidate, Quantized
from edgekit.quantization.equalization import equalize
from edgekit.quantization.held_out import HeldOutSplit
from edgekit.quantization.mixed_precision import (
    Fallback,
    MixedPrecision,
    search_mixed_precision,
    with_fallback,
)
from edgekit.quantization.parameters import QuantParameters
from edgekit.quantization.place import place
from edgekit.quantization.preparation import prepare
from edgekit.quantization.ptq_types import PtqOptions, PtqResult, Trial
from edgekit.quantization.quality import Metric, measure_sqnr
from edgekit.quantization.range_rules import METHODS
from edgekit.quantization.sensitivity import LayerSensitivity, analyse_sensitivity

__all__ = ["PtqOptions", "PtqResult", "Trial", "quantize_ptq"]


def quantize_ptq(
    model: ir.Model,
    calibration: Callable[[], Iterator[Feeds]],
    scheme: QuantScheme,
    options: PtqOptions | None = None,
    progress: Progress | None = None,
    *,
    constraints: QuantConstraints | None = None,
    metric: Metric | None = None,
) -> PtqResult:
    """Quantizes a graph without training.

    Args:
        model: Canonical float graph; not modified. A graph that is quantized already is given
            back as it is.
        calibration: Starts a pass over batches of real inputs, the same ones each time.
        scheme: What is quantized.
        options: How.
        progress: Tells of each step.
        constraints: What the target demands; by default what TFLite's kernels demand.
        metric: Accuracy of a graph, higher is better. Of what is tried, those that lie within
            its noise of the best are taken as equally accurate, and the SQNR of the outputs
            decides; without a metric it decides alone.

    Raises:
        ConfigError: If the options contradict each other or the scheme does not fit the graph.
        InputError: If the calibration data is empty, damaged or does not fit the inputs.
    """
    options = options or PtqOptions()
    if options.max_drop is not None and metric is None:
        raise ConfigError("max_drop needs labelled data to measure accuracy on; none was given")
    first = place(model, scheme, constraints)
    chooses = scheme.activations is not None and _chooses(options)
    if first.already_quantized or (scheme.activations is None and scheme.weights is None):
        notes = first.notes or (
            Note(text=f"Scheme {scheme.name!r} leaves the graph float; the target stores it so"),
        )
        copy = ir.from_proto(ir.to_proto(model))
        return PtqResult(copy, first, QuantParameters(), notes=notes)
    work = _Ptq(
        scheme=scheme,
        options=options,
        constraints=constraints or QuantConstraints(),
        metric=metric,
        progress=progress or SilentProgress(),
        split=HeldOutSplit(calibration, options.hold_out_every if chooses else 0),
    )
    return work.run(model)


def _chooses(options: PtqOptions) -> bool:
    """Whether data has to be held out to choose between several graphs."""
    tries_more = options.equalize or options.bias_correction or options.adaround
    return options.method == "auto" or tries_more


@dataclass(frozen=True, slots=True)
class _Judged:
    candidate: Candidate
    quantized: Quantized
    trial: Trial

    @property
    def sqnr_db(self) -> float:
        return float("-inf") if self.trial.sqnr_db is None else self.trial.sqnr_db


@dataclass(slots=True)
class _Ptq:
    """One run; the methods are its steps in order."""

    scheme: QuantScheme
    options: PtqOptions
    constraints: QuantConstraints
    metric: Metric | None
    progress: Progress
    split: HeldOutSplit

    def run(self, model: ir.Model) -> PtqResult:
        reference = prepare(model)
        if self.options.bias_correction:
            reference = give_biases(reference)
        notes: list[Note] = []
        judged = self._judge(reference, self._variants(reference, notes))
        best = self._best(judged)
        for refined in self._refinements(best, notes):
            judged += self._judge(reference, [refined(best)])
            best = self._best([best, judged[-1]])
        result = self._meet_max_drop(reference, best, judged)
        if self.options.sensitivity and not result.sensitivity:
            result = replace(result, sensitivity=self._sensitivity(best))
        if best.candidate.calibration is not None:
            result = replace(result, seen=best.candidate.calibration.extremes(result.placement))
        return replace(result, notes=(*notes, *self._closing_notes(best), *result.notes))

    def _best(self, judged: Sequence[_Judged]) -> _Judged:
        """The one with the highest SQNR among those that are as accurate as the best."""
        metrics = [item.trial.metric for item in judged if item.trial.metric is not None]
        if self.metric is None or len(metrics) < len(judged):
            return max(judged, key=lambda item: item.sqnr_db)
        lowest = max(metrics) - self.metric.noise(max(metrics))
        accurate = [item for item in judged if (item.trial.metric or 0.0) >= lowest]
        return max(accurate, key=lambda item: item.sqnr_db)

    def _variants(self, reference: ir.Model, notes: list[Note]) -> list[Candidate]:
        """A candidate for each method, of the graph as it is and of the equalized one."""
        models = {"": reference}
        if self.options.equalize:
            equalized = equalize(reference, relu6_as_relu=self.options.relu6_as_relu)
            notes += equalized.notes
            if equalized.pairs:
                models["+equalized"] = equalized.model
            else:
                notes.append(Note(text="Equalization found no pair of layers"))
        if self.scheme.activations is None:
            return [
                Candidate(f"weights{suffix}", model, None, "minmax")
                for suffix, model in models.items()
            ]
        candidates = []
        chosen = self.options.method
        methods = METHODS if chosen == "auto" else (chosen,)
        for suffix, model in models.items():
            placement = place(model, self.scheme, self.constraints)
            calibration = calibrate(
                model,
                placement,
                self.split.fitting(),
                CalibrationOptions(
                    methods, self.options.moving_average_rate, self._state_file(suffix)
                ),
                self.progress,
            )
            calibration.require_variety([str(value.name) for value in model.graph.inputs])
            notes += () if suffix else calibration.notes()
            candidates += [
                Candidate(method + suffix, model, calibration, method, self.options.percentile)
                for method in methods
            ]
        return candidates

    def _state_file(self, suffix: str) -> Path | None:
        state = self.options.state
        return state.with_name(state.name + suffix) if state is not None else None

    def _judge(self, reference: ir.Model, candidates: list[Candidate]) -> list[_Judged]:
        """Builds candidates and measures how good they are on held-out data."""
        self.progress.start("Compare", len(candidates))
        built = [item.build(self.scheme, self.constraints) for item in candidates]
        ratios: list[float | None] = [None] * len(built)
        # Weights are quantized without data, which then only tells how good they are.
        if self.scheme.activations is not None or next(self.split.judging(), None) is not None:
            graphs = [item.model for item in built]
            ratios[:] = measure_sqnr(reference, graphs, self.split.judging())
        judged = []
        for candidate, quantized, sqnr in zip(candidates, built, ratios, strict=True):
            accuracy = self.metric(quantized.model) if self.metric is not None else None
            trial = Trial(name=candidate.name, sqnr_db=sqnr, metric=accuracy)
            judged.append(_Judged(candidate, quantized, trial))
            self.progress.advance(note=candidate.name)
        self.progress.finish()
        return judged

    def _refinements(
        self, best: _Judged, notes: list[Note]
    ) -> Iterator[Callable[[_Judged], Candidate]]:
        """What is tried on the best candidate so far, one after the other."""
        if self.options.bias_correction:
            yield self._with_corrected_biases
        if self.options.adaround:
            yield lambda judged: self._with_adaround(judged, notes)

    def _with_corrected_biases(self, judged: _Judged) -> Candidate:
        candidate, quantized = judged.candidate, judged.quantized
        corrected = correct_biases(
            candidate.model, quantized.placement, quantized.parameters, self.split.fitting()
        )
        return replace(candidate, name=f"{candidate.name}+bias-correction", model=corrected)

    def _with_adaround(self, judged: _Judged, notes: list[Note]) -> Candidate:
        # torch takes seconds to import and nothing else here needs it.
        from edgekit.quantization.adaround import AdaRoundOptions, adaround

        candidate, quantized = judged.candidate, judged.quantized
        rounded, skipped = adaround(
            candidate.model,
            quantized.placement,
            quantized.parameters,
            self.split.fitting,
            AdaRoundOptions(
                iterations=self.options.adaround_iterations,
                samples=self.options.adaround_samples,
                seed=self.options.seed,
            ),
            self.progress,
        )
        notes += skipped
        weights = {name: layer.weight for name, layer in rounded.layers.items()}
        return replace(candidate, name=f"{candidate.name}+adaround", weights=weights)

    def _sensitivity(self, best: _Judged) -> tuple[LayerSensitivity, ...]:
        if best.candidate.calibration is None:
            return ()
        return analyse_sensitivity(
            best.candidate.model,
            self.scheme,
            best.quantized.placement,
            best.candidate.calibration,
            best.candidate.method,
            self.split.judging,
            constraints=self.constraints,
            metric=self.metric,
            percentile=best.candidate.percentile,
            progress=self.progress,
        )

    def _meet_max_drop(
        self, reference: ir.Model, best: _Judged, judged: list[_Judged]
    ) -> PtqResult:
        """The best candidate, with layers left out of 8 bits where it loses too much."""
        quantized = best.quantized
        table = [item.trial for item in judged]
        table[table.index(best.trial)] = best.trial.model_copy(update={"chosen": True})
        result = PtqResult(
            quantized.model, quantized.placement, quantized.parameters, tuple(table)
        )
        if self.metric is None or best.trial.metric is None:
            return result
        baseline = self.metric(reference)
        result = replace(result, float_metric=baseline)
        if self.options.max_drop is None:
            return result
        # A loss of exactly max_drop is accepted, also where subtraction rounds.
        lowest = baseline - self.options.max_drop - 1e-9 * abs(baseline)
        if best.trial.metric >= lowest or best.candidate.calibration is None:
            return result
        metric, sensitivity = self.metric, self._sensitivity(best)

        def build(layers: tuple[str, ...]) -> Quantized:
            scheme = with_fallback(self.scheme, layers, self.options.fallback)
            return best.candidate.build(scheme, self.constraints)

        found = search_mixed_precision(
            sensitivity, lambda layers: metric(build(layers).model), lowest
        )
        mixed = build(found.layers)
        return replace(
            result,
            model=mixed.model,
            placement=mixed.placement,
            parameters=mixed.parameters,
            sensitivity=sensitivity,
            mixed_precision=found,
            notes=(_mixed_note(found, self.options.fallback, lowest),),
        )

    def _closing_notes(self, best: _Judged) -> list[Note]:
        placement = best.quantized.placement
        notes = [
            Note(where=name, text=f"Computes in float: {reason}")
            for name, reason in placement.float_reasons
        ]
        notes += placement.notes
        if not placement.layers and not placement.integer_units:
            notes.append(Note(level="warning", text="Nothing in the graph could be quantized"))
        if self.split.every and not self.split.divided:
            text = "Too few calibration batches to hold one out; all were used to compare, too"
            notes.append(Note(level="warning", text=text))
        return notes


def _mixed_note(found: MixedPrecision, fallback: Fallback, lowest: float) -> Note:
    kept = "float" if fallback == "float" else "16-bit activations"
    if found.met:
        names = ", ".join(found.layers)
        return Note(text=f"{len(found.layers)} layers stay in {kept} to reach {lowest:g}: {names}")
    return Note(
        level="warning",
        text=f"{lowest:g} is not reached even with all layers in {kept}; "
        "the loss comes from elsewhere, for example from the calibration data",
    )
