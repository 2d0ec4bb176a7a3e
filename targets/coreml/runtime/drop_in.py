"""`MLModel.predict` off a Mac: coremltools' own tools then run, with the edgekit MIL runtime.

For example `coremltools.optimize.coreml.linear_quantize_activations`, which calibrates by
predicting, works on Linux within `predicting_here`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from edgekit.targets.coreml.runtime.mil_model import MilModel
from edgekit.targets.coreml.toolchain import coremltools as ct


def predict(model: Any, data: Any, state: Any = None) -> Any:
    """What ``MLModel.predict`` gives, computed by the edgekit MIL runtime.

    Args:
        model: coremltools' ``MLModel`` of an ML program.
        data: Arrays by input name, or a list of such mappings.
        state: From ``MilModel.make_state``; None begins anew.

    Raises:
        InputError: If a feed is missing or of the wrong shape or type.
        UnsupportedError: For an operator that the runtime does not know.
    """
    runtime = MilModel(Path(model.package_path))
    if isinstance(data, Mapping):
        return runtime.predict(data, state=state)
    return [runtime.predict(item, state=state) for item in data]


@contextmanager
def predicting_here() -> Iterator[None]:
    """Lets every ``MLModel`` predict with the edgekit MIL runtime for a while."""
    former = ct.models.MLModel.predict
    ct.models.MLModel.predict = predict
    try:
        yield
    finally:
        ct.models.MLModel.predict = former
