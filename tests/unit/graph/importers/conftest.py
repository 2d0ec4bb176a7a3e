from __future__ import annotations

from collections.abc import Iterator

import pytest
from torch.onnx._internal.exporter import _registration


@pytest.fixture(scope="session", autouse=True)
def _one_registry() -> Iterator[None]:
    """Lets all exports of the session share the exporter's operator table.

    The exporter builds it anew for every export, which takes longer than exporting a small
    module; it is not changed after it is built.
    """
    build = _registration.ONNXRegistry.from_torchlib
    tables: dict[int, _registration.ONNXRegistry] = {}

    def shared(opset_version: int) -> _registration.ONNXRegistry:
        if opset_version not in tables:
            tables[opset_version] = build(opset_version)
        return tables[opset_version]

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(_registration.ONNXRegistry, "from_torchlib", staticmethod(shared))
        yield
