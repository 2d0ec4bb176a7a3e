"""Non-maximum suppression."""

from __future__ import annotations

import torch

from edgekit.targets.coreml.runtime.registry import Call, Tensor, operator


@operator("non_maximum_suppression")
def non_maximum_suppression(
    *,
    boxes: Tensor,
    scores: Tensor,
    iou_threshold: float,
    max_boxes: int,
    score_threshold: float | None = None,
    per_class_suppression: bool = False,
    call: Call,
) -> tuple[Tensor, ...]:
    """Boxes in order of their best score, without those that overlap a better one.

    Boxes are ``[x, y, width, height]`` around centres, on the axis before the last until iOS16
    and on the last one from iOS17 on. Places that stay empty hold zeros, and -1 as index; the
    definition leaves their content open.
    """
    newer = call.opset not in {"CoreML5", "CoreML6"}
    if newer:
        boxes, scores = boxes.transpose(1, 2), scores.transpose(1, 2)
    results = [
        _of_image(
            boxes[at], scores[at], iou_threshold, max_boxes, score_threshold, per_class_suppression
        )
        for at in range(boxes.shape[0])
    ]
    found = [torch.stack(items) for items in zip(*results, strict=True)]
    if newer:
        return found[0].transpose(1, 2), found[1].transpose(1, 2), found[2]
    return tuple(found)


def _of_image(
    boxes: Tensor, scores: Tensor, overlap: float, most: int, lowest: float | None, by_class: bool
) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    best, classes = scores.max(dim=1)
    order = torch.argsort(best, descending=True, stable=True).tolist()
    kept: list[int] = []
    for at in order:
        if len(kept) == most:
            break
        if lowest is not None and float(best[at]) < lowest:
            continue
        rivals = [o for o in kept if not by_class or int(classes[o]) == int(classes[at])]
        if not rivals or float(_overlaps(boxes[at], boxes[rivals]).max()) <= overlap:
            kept.append(at)
    picked = torch.zeros((most, boxes.shape[1]))
    marks = torch.zeros((most, scores.shape[1]))
    indices = torch.full((most,), -1, dtype=torch.int32)
    picked[: len(kept)], marks[: len(kept)] = boxes[kept], scores[kept]
    indices[: len(kept)] = torch.tensor(kept, dtype=torch.int32)
    return picked, marks, indices, torch.tensor(len(kept), dtype=torch.int32)


def _overlaps(box: Tensor, others: Tensor) -> Tensor:
    """Area in common as a share of the area of both together."""
    low = torch.maximum(box[:2] - box[2:] / 2, others[:, :2] - others[:, 2:] / 2)
    high = torch.minimum(box[:2] + box[2:] / 2, others[:, :2] + others[:, 2:] / 2)
    common = (high - low).clamp(min=0).prod(dim=1)
    total = box[2:].prod() + others[:, 2:].prod(dim=1) - common
    return torch.where(total > 0, common / total, torch.zeros(()))
