"""Matches the classes of a data set with those of a model by name."""

from __future__ import annotations

import numpy as np

from edgekit.data.contract import Labels


def match_classes(
    data_labels: tuple[str, ...], model_labels: tuple[str, ...]
) -> tuple[Labels | None, tuple[str, ...]]:
    """Finds for each class of the data set the model's class of the same name.

    Returns:
        Model class by data set class, ``int64[classes]``, or None where index i means the
        same in both; and warnings.
    """
    if not model_labels or data_labels == model_labels[: len(data_labels)]:
        return None, ()
    positions = {_plain(name): index for index, name in enumerate(model_labels)}
    found = [positions.get(_plain(name)) for name in data_labels]
    matched = [index for index in found if index is not None]
    if len(matched) == len(data_labels) == len(set(matched)):
        if matched == list(range(len(data_labels))):
            return None, ()
        return np.array(matched, dtype=np.int64), ()
    unmatched = [name for name, index in zip(data_labels, found, strict=True) if index is None]
    warning = (
        f"{len(unmatched)} of {len(data_labels)} classes of the data set are not among the "
        f"model's labels (first: {', '.join(unmatched[:3])}); classes are matched by index."
    )
    return None, (warning,)


def _plain(name: str) -> str:
    return " ".join(name.lower().replace("_", " ").replace("-", " ").split())
