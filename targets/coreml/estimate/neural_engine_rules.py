"""The rules of `neural_engine`: one entry for each reason to leave, with the page it stands on.

Where public accounts disagree, the reason says so.
"""

from __future__ import annotations

from collections.abc import Callable
from math import prod

from edgekit.targets.coreml.estimate.departures import Rule, Source
from edgekit.targets.coreml.estimate.op_facts import OpFacts

TYPED = Source(
    title="Core ML Tools guide, Typed Execution Workflow Example",
    url="https://apple.github.io/coremltools/docs-guides/source/typed-execution-example.html",
)
SURFACE = Source(
    title="Apple Neural Engine: Architecture, Programming, and Performance, chapter 4",
    url="https://ane-guide.readthedocs.io/en/latest/part-1-machine/04-capability-surface.html",
)
CATALOG = Source(
    title="ANEForge, catalog of ops by chip",
    url="https://aneforge.readthedocs.io/en/latest/op-catalog/",
)
LAYERS = Source(
    title="hollance/neural-engine, Which Core ML layers are not supported by the ANE?",
    url="https://github.com/hollance/neural-engine/blob/master/docs/unsupported-layers.md",
)
RECURRENT = Source(
    title="answer of a Core ML developer in coremltools issue 1780",
    url="https://github.com/apple/coremltools/issues/1780",
)
CUSTOM = Source(
    title="answer of a Core ML developer in coremltools issue 1278",
    url="https://github.com/apple/coremltools/issues/1278",
)
LOOPS = Source(
    title="coremltools issue 2208", url="https://github.com/apple/coremltools/issues/2208"
)
FLEXIBLE = Source(
    title="answer of an Apple engineer in the Developer Forums, thread 724930",
    url="https://developer.apple.com/forums/thread/724930",
)
INVOLUTION = Source(
    title="coremltools issue 2536", url="https://github.com/apple/coremltools/issues/2536"
)
PLACEMENT = Source(
    title="placement of RF-DETR's ops by MLComputePlan, rf-detr pull request 1495",
    url="https://github.com/roboflow/rf-detr/pull/1495",
)

_CONVOLUTIONS = ("conv", "conv_transpose")
_POOLS = ("avg_pool", "max_pool", "l2_pool")
_UPSAMPLES = ("upsample_nearest_neighbor", "upsample_bilinear")
_RESIZES = ("resize_nearest_neighbor", "resize_bilinear", "resize")
_IMAGE_RANK = 4
_MAX_RANK = 5
_MAX_SPATIAL = 16384
_MAX_CHANNEL = 65536
_MAX_KERNEL_WIDTH = 16
_MAX_WINDOW = 13
_MAX_POOL_STRIDE = 2
_MAX_UPSAMPLE = 2
_WIDE_INTEGERS = frozenset({"int16", "uint16", "int32", "uint32", "int64", "uint64"})
_INDEXED = frozenset({"gather", "gather_along_axis", "gather_nd", "topk", "argsort"})
"""Types with int32 indices, which have rules of their own."""
_NATIVE_INDICES = frozenset({"reduce_argmax"})


def _is(*types: str) -> Callable[[OpFacts], bool]:
    chosen = frozenset(types)
    return lambda facts: facts.type in chosen


def _computes_in_float32(facts: OpFacts) -> bool:
    return any(tensor.dtype == "float32" for tensor in facts.variables)


def _computes_in_wide_integers(facts: OpFacts) -> bool:
    if facts.type in _INDEXED | _NATIVE_INDICES:
        return False
    return any(tensor.dtype in _WIDE_INTEGERS for tensor in facts.variables)


def _is_dynamic(facts: OpFacts) -> bool:
    return facts.dynamic


def _exceeds_rank(facts: OpFacts) -> bool:
    return any(len(tensor.shape) > _MAX_RANK for tensor in facts.variables)


def _is_three_dimensional(facts: OpFacts) -> bool:
    if facts.type not in _CONVOLUTIONS or "x" not in facts.inputs:
        return False
    return len(facts.inputs["x"].shape) > _IMAGE_RANK


def _is_high_rank_product(facts: OpFacts) -> bool:
    if facts.type not in ("matmul", "linear", "einsum"):
        return False
    return any(len(tensor.shape) > _IMAGE_RANK for tensor in facts.variables)


def _exceeds_extent(facts: OpFacts) -> bool:
    for tensor in facts.variables:
        sizes = [size or 0 for size in tensor.shape]
        if max(sizes[-2:], default=0) > _MAX_SPATIAL or max(sizes, default=0) > _MAX_CHANNEL:
            return True
    return False


def _has_wide_kernel(facts: OpFacts) -> bool:
    weight = facts.inputs.get("weight")
    if facts.type not in _CONVOLUTIONS or weight is None or not weight.shape:
        return False
    return (weight.shape[-1] or 0) > _MAX_KERNEL_WIDTH


def _is_dilated(facts: OpFacts) -> bool:
    return facts.type in _CONVOLUTIONS and any(size > 1 for size in facts.integers("dilations"))


def _has_computed_weights(facts: OpFacts) -> bool:
    weight = facts.inputs.get("weight")
    return facts.type in _CONVOLUTIONS and weight is not None and not weight.constant


def _has_large_window(facts: OpFacts) -> bool:
    return facts.type in _POOLS and any(
        size > _MAX_WINDOW for size in facts.integers("kernel_sizes")
    )


def _has_large_pool_stride(facts: OpFacts) -> bool:
    return facts.type in _POOLS and any(
        size > _MAX_POOL_STRIDE for size in facts.integers("strides")
    )


def _upsamples_much(facts: OpFacts) -> bool:
    if facts.type in _UPSAMPLES:
        factors = (
            *facts.numbers("scale_factor_height"), *facts.numbers("scale_factor_width")
        )  # fmt: skip
        return any(factor > _MAX_UPSAMPLE for factor in factors)
    if facts.type not in _RESIZES or "x" not in facts.inputs or not facts.outputs:
        return False
    before, after = facts.inputs["x"].shape[-2:], facts.outputs[0].shape[-2:]
    return any(
        old is not None and new is not None and new > _MAX_UPSAMPLE * old
        for old, new in zip(before, after, strict=False)
    )


def _is_empty(facts: OpFacts) -> bool:
    return any(
        None not in tensor.shape and prod(size or 0 for size in tensor.shape) == 0
        for tensor in facts.variables
    )


RULES: tuple[Rule, ...] = (
    Rule(
        "float32", _computes_in_float32,
        "it computes in float32, and the engine has float16 arithmetic alone; lower with "
        "precision float16", TYPED,
    ),
    Rule(
        "wide integers", _computes_in_wide_integers,
        "it computes on integers of 16 bits or more, which the engine's arithmetic does not have",
        SURFACE,
    ),
    Rule(
        "dynamic shape", _is_dynamic,
        "a size is open; with a range of shapes only the default shape runs on the engine, with "
        "enumerated shapes each can", FLEXIBLE,
    ),
    Rule(
        "rank above five", _exceeds_rank,
        "a tensor has more than five dimensions, the most that the engine's layout has", SURFACE,
    ),
    Rule(
        "three-dimensional convolution", _is_three_dimensional,
        "convolutions of rank-5 tensors fail to lower on every chip", SURFACE,
    ),
    Rule(
        "matrix product of rank five", _is_high_rank_product,
        "matrix products of rank-5 tensors are refused by the engine's compiler; merge two "
        "dimensions", SURFACE,
    ),
    Rule(
        "extent", _exceeds_extent,
        f"a height or width exceeds {_MAX_SPATIAL}, or another size {_MAX_CHANNEL}", SURFACE,
    ),
    Rule(
        "empty tensor", _is_empty,
        "a tensor has no elements, which the engine's compiler refuses", SURFACE,
    ),
    Rule(
        "wide kernel", _has_wide_kernel,
        f"its float16 kernel is wider than {_MAX_KERNEL_WIDTH}, the most of an A14 (13 before)",
        SURFACE,
    ),
    Rule(
        "dilation", _is_dilated,
        "dilated convolutions are reported to run elsewhere; newer accounts (the guide "
        "ane-guide.readthedocs.io) find them native, so measure it", LAYERS,
    ),
    Rule(
        "computed weights", _has_computed_weights,
        "its weights are computed while the program runs, and the engine's are fixed when it is "
        "compiled; a network with such convolutions is reported to run on the CPU", INVOLUTION,
    ),
    Rule(
        "pooling window", _has_large_window,
        f"its window is larger than {_MAX_WINDOW}; a mean over both axes or smaller windows may "
        "stay", LAYERS,
    ),
    Rule(
        "pooling stride", _has_large_pool_stride,
        f"its stride is larger than {_MAX_POOL_STRIDE}; newer chips are said to take 4 as well",
        LAYERS,
    ),
    Rule(
        "upsampling factor", _upsamples_much,
        f"it enlarges by more than {_MAX_UPSAMPLE}; steps of 2 may stay", LAYERS,
    ),
    Rule(
        "recurrent", _is("lstm", "gru", "rnn"),
        "recurrent layers are not supported there", RECURRENT,
    ),
    Rule(
        "control flow", _is("cond", "while_loop"),
        "loops and branches are not run there; unroll it", LOOPS,
    ),
    Rule(
        "lists", _is("make_list", "list_gather", "list_length", "list_read", "list_scatter",
                     "list_write"),
        "lists of tensors have no form there on any chip", CATALOG,
    ),
    Rule(
        "gather", _is("gather", "gather_along_axis", "gather_nd"),
        "gathering is reported to run elsewhere, or only in narrow cases", LAYERS,
    ),
    Rule(
        "ranking", _is("topk", "argsort"),
        "top-k and sorting were found on the CPU, with what reads their indices", PLACEMENT,
    ),
    Rule(
        "scatter", _is("scatter", "scatter_along_axis", "scatter_nd"),
        "scattering has no form there on any chip", SURFACE,
    ),
    Rule(
        "indexing", _is("one_hot", "non_zero", "shape", "band_part", "reverse_sequence",
                        "sliding_windows"),
        "it has no form there on any chip", SURFACE,
    ),
    Rule(
        "logic", _is("logical_and", "logical_or", "logical_xor"),
        "it has no form there on any chip; minimum and maximum do", SURFACE,
    ),
    Rule(
        "remainder and product", _is("mod", "reduce_prod"),
        "it has no form there on any chip", SURFACE,
    ),
    Rule(
        "inverse and hyperbolic functions",
        _is("tan", "acos", "asin", "sinh", "cosh", "atanh"),
        "it has no form there on any chip", CATALOG,
    ),
    Rule(
        "from the A15", _is("sin", "cos", "reduce_argmin"),
        "it runs there from the A15 on, not on the A14", CATALOG,
    ),
    Rule(
        "random numbers", _is("random_bernoulli", "random_categorical", "random_normal",
                              "random_uniform"),
        "random numbers are not drawn there on an A14", CATALOG,
    ),
    Rule(
        "running sum", _is("cumsum"),
        "the standard op is not implemented there; multiply by a triangular matrix", CATALOG,
    ),
    Rule(
        "custom op", lambda facts: facts.type.startswith("custom"),
        "custom ops have implementations for the CPU and GPU alone", CUSTOM,
    ),
)  # fmt: skip
"""All rules, those that hold for any type first."""
