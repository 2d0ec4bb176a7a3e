"""Saved packages in the runtime against the values that coremltools' definitions compute."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgekit.targets.coreml.runtime import MilModel
from edgekit.targets.coreml.toolchain import coremltools as ct
from edgekit.targets.coreml.toolchain import mb, quietly
from tests.targets.coreml.mil_packages import build
from tests.targets.coreml.runtime.inference_cases import CASES, Case

type Array = Any
OPSETS = ("iOS15", "iOS16", "iOS17", "iOS18")


def arguments() -> Iterator[tuple[str, str]]:
    for opset in OPSETS:
        for name, case in CASES.items():
            if opset in case.opsets:
                yield opset, name


def results(made: Any) -> list[Any]:
    return list(made) if isinstance(made, list | tuple) else [made]


def readable(variable: Any) -> Any:
    """A variable as a package can give it."""
    from coremltools.converters.mil.mil import types

    if variable.dtype in (types.fp32, types.int32):
        return variable
    return mb.cast(x=variable, dtype="int32")


def inferred(case: Case, opset: str) -> list[Array]:
    """Values of the body on constants, without any file."""
    from coremltools.converters.mil.mil import Function

    with quietly(), Function({}, opset_version=getattr(ct.target, opset)):
        # Some definitions change the constant that they are given.
        constants = {name: mb.const(val=np.copy(value)) for name, value in case.feeds.items()}
        return [np.asarray(item.val) for item in results(case.body(**constants))]


type Found = dict[str, dict[str, list[Array]]]


@pytest.fixture(scope="module")
def computed(tmp_path_factory: pytest.TempPathFactory) -> Found:
    """Results of the runtime by opset and case; one package holds all cases of an opset."""
    folder = tmp_path_factory.mktemp("inference")
    return {opset: run_all(opset, folder / f"{opset}.mlpackage") for opset in OPSETS}


def run_all(opset: str, path: Path) -> dict[str, list[Array]]:
    """Saves one package of all cases of an opset and runs it."""
    chosen = [(name, case) for name, case in CASES.items() if opset in case.opsets]
    feeds = {
        f"{key}_{at}": value
        for at, (_, case) in enumerate(chosen)
        for key, value in case.feeds.items()
    }
    counts: list[int] = []

    def body(*variables: Any) -> list[Any]:
        named = dict(zip(feeds, variables, strict=True))
        made: list[Any] = []
        for at, (_, case) in enumerate(chosen):
            # A package takes no scalars, so one of them comes as a vector and is unpacked.
            given = {
                key: named[f"{key}_{at}"]
                if value.shape
                else mb.squeeze(x=named[f"{key}_{at}"], axes=[0])
                for key, value in case.feeds.items()
            }
            own = [readable(item) for item in results(case.body(**given))]
            counts.append(len(own))
            # Names of results are those of variables, and no two results are one variable.
            made += [mb.identity(x=item, name=f"y{len(made) + n}") for n, item in enumerate(own)]
        return made

    build(
        body,
        {key: value.shape or (1,) for key, value in feeds.items()},
        path,
        target=opset,
        dtypes={key: "int32" for key, value in feeds.items() if value.dtype == np.int32},
    )
    given = {key: value.reshape(value.shape or (1,)) for key, value in feeds.items()}
    found = MilModel(path).predict(given)
    order = iter(range(len(found)))
    return {
        name: [found[f"y{next(order)}"] for _ in range(count)]
        for (name, _), count in zip(chosen, counts, strict=True)
    }


@pytest.mark.parametrize(("opset", "name"), list(arguments()))
def test_runtime_and_definition_agree(opset: str, name: str, computed: Found) -> None:
    expected = inferred(CASES[name], opset)
    found = computed[opset][name]
    assert len(found) == len(expected)
    for one, other in zip(found, expected, strict=True):
        assert one.shape == (other.shape or one.shape)
        if other.dtype.kind in "iub":
            np.testing.assert_array_equal(one.reshape(other.shape), other)
        else:
            np.testing.assert_allclose(one.reshape(other.shape), other, rtol=1e-5, atol=2e-6)
