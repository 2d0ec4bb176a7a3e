"""Whether a data set has labels, before it is opened as one that must."""

from __future__ import annotations

from edgekit.data.contract import DataSpec
from edgekit.data.image_folder import is_unlabelled
from edgekit.data.npz import is_npz, open_arrays


def has_labels(spec: DataSpec) -> bool:
    """Whether accuracy can be measured on a data set.

    An ``.npz`` file without classes and a folder of images without class folders have none.

    Raises:
        InputError: If it is missing, damaged or empty.
    """
    if is_npz(spec):
        return open_arrays(spec).targets is not None
    return not is_unlabelled(spec)
