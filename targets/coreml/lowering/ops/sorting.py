"""Order: TopK and non-maximum suppression."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgekit.graph.node_view import Refusal, int_attribute, normalized_axis, optional_input
from edgekit.targets.coreml.lowering.emitter import (
    Emitter,
    dtype_name,
    kind_of,
    rank_of,
    static_sizes,
)
from edgekit.targets.coreml.lowering.registry import Var, lowers


@lowers("TopK", accepts="a constant K")
def lower_topk(e: Emitter, node: ir.Node) -> list[Var]:
    """The K largest or smallest elements with their indices, in order."""
    x = e.input(node, 0)
    if dtype_name(node.inputs[0]) in {"uint32", "uint64"}:  # type: ignore[arg-type]
        raise Refusal("unsigned 32-bit integers in order, which Core ML does not have")
    if "k" in node.attributes:
        k = int_attribute(node, "k", 1)
    else:
        k = int(e.required_array(node, 1, "K").reshape(-1)[0])
    axis = normalized_axis(int_attribute(node, "axis", -1), rank_of(x))
    ascending = not int_attribute(node, "largest", 1)
    whole = kind_of(x) == "int"
    if whole:
        # Integers of up to 24 bits are exact in float32.
        x = e("cast", x=x, dtype="fp32")
    more = {"sort": True} if e.options.at_least("iOS16") else {}
    values, indices = e("topk", x=x, k=k, axis=axis, ascending=ascending, **more)
    return [e("cast", x=values, dtype="int32") if whole else values, indices]


@lowers("NonMaxSuppression", accepts="fixed sizes, constant limits; results by class and batch")
def lower_nms(e: Emitter, node: ir.Node) -> Var:
    """Boxes that remain, one row ``[batch, class, box]`` each.

    MIL gives a fixed number of rows with -1 for none, and suppresses within a class where
    ``per_class_suppression`` says so; ONNX counts boxes by batch and class. Each class of each
    batch is suppressed alone, and rows that are none are left out.
    """
    boxes, scores = e.input(node, 0), e.input(node, 1)
    batches, count, _ = static_sizes(boxes, "the boxes")
    classes = static_sizes(scores, "the scores")[1]
    limit = int(_number(e, node, 2, 0, "max_output_boxes_per_class"))
    if limit <= 0:
        raise Refusal("a maximum of no boxes", "max_output_boxes_per_class of at least 1")
    overlap = np.float32(_number(e, node, 3, 0.0, "iou_threshold"))
    threshold = None
    if optional_input(node, 4) is not None:
        threshold = np.float32(_number(e, node, 4, 0.0, "score_threshold"))
    if not int_attribute(node, "center_point_box", 0):
        boxes = _centred(e, boxes)
    else:
        boxes = e("gather", x=boxes, indices=np.array([0, 1, 2, 3], np.int32), axis=2)
    rows = []
    for batch in range(batches):
        for at in range(classes):
            place = (batch, at)
            rows.append(
                _suppressed(e, (boxes, scores), place, (overlap, threshold, min(limit, count)))
            )
    joined = rows[0] if len(rows) == 1 else e("concat", values=rows, axis=0)
    kept = e("gather", x=joined, indices=np.int32(2), axis=1)
    found = e("non_zero", x=e("cast", x=e("greater_equal", x=kept, y=np.int32(0)), dtype="int32"))
    return e("gather", x=joined, indices=e("squeeze", x=found, axes=[1]), axis=0)


def _number(e: Emitter, node: ir.Node, index: int, default: float, what: str) -> float:
    if optional_input(node, index) is None:
        return default
    return float(e.required_array(node, index, what).reshape(-1)[0])


def _centred(e: Emitter, boxes: Var) -> Var:
    """Corners ``[y1, x1, y2, x2]`` in either order as ``[x, y, width, height]`` around centres."""
    y1, x1, y2, x2 = e("split", x=boxes, num_splits=4, axis=2)
    half = np.float32(0.5)
    parts = [
        e("mul", x=e("add", x=x1, y=x2), y=half),
        e("mul", x=e("add", x=y1, y=y2), y=half),
        e("abs", x=e("sub", x=x2, y=x1)),
        e("abs", x=e("sub", x=y2, y=y1)),
    ]
    return e("concat", values=parts, axis=2)


def _suppressed(
    e: Emitter, operands: tuple[Var, Var], place: tuple[int, int], limits: tuple[Any, Any, int]
) -> Var:
    """Rows ``[batch, class, box]`` of one class of one batch; a box of -1 is none."""
    boxes, scores = operands
    batch, at = place
    overlap, threshold, limit = limits
    own = e("slice_by_index", x=boxes, begin=[batch, 0, 0], end=[batch + 1, 0, 0],
            end_mask=[False, True, True])  # fmt: skip
    marks = e("slice_by_index", x=scores, begin=[batch, at, 0], end=[batch + 1, at + 1, 0],
              end_mask=[False, False, True])  # fmt: skip
    # Newer systems have no threshold of scores, and to drop low ones afterwards is the same:
    # a lower score never suppresses a higher one. They also have the boxes on the last axis.
    newer = e.options.at_least("iOS17")
    lowest = np.float32(np.finfo(np.float32).min)
    more = {} if newer else {"score_threshold": lowest}
    if newer:
        own = e("transpose", x=own, perm=[0, 2, 1])
    else:
        marks = e("transpose", x=marks, perm=[0, 2, 1])
    results = e(
        "non_maximum_suppression",
        boxes=own,
        scores=marks,
        iou_threshold=overlap,
        max_boxes=np.int32(limit),
        per_class_suppression=False,
        **more,
    )
    kept, indices = results[1], results[2]
    if threshold is not None:
        high = e("greater", x=e("reshape", x=kept, shape=[1, limit]), y=threshold)
        none = e.constant(np.full((1, limit), -1, np.int32))
        indices = e("select", cond=high, a=indices, b=none)
    column = e("reshape", x=indices, shape=[limit, 1])
    fixed = np.tile(np.array([[batch, at]], np.int32), (limit, 1))
    return e("concat", values=[fixed, column], axis=1)


@lowers("Unique", accepts="nothing")
def refuse_unique(e: Emitter, node: ir.Node) -> Var:
    """Distinct elements."""
    kind_of(e.input(node, 0))
    raise Refusal("MIL has no operator for distinct elements")
