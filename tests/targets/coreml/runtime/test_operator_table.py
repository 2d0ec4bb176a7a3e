"""The runtime's operators against coremltools' registry: types, parameters, refusals."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgekit.errors import UnsupportedError
from edgekit.targets.coreml.package.program import Operation, Value
from edgekit.targets.coreml.package.types import TensorType
from edgekit.targets.coreml.runtime import MilModel, ops
from edgekit.targets.coreml.runtime.plan import Planner
from edgekit.targets.coreml.runtime.registry import OPERATORS
from edgekit.targets.coreml.toolchain import mb
from tests.targets.coreml.mil_packages import build

assert ops is not None
BLOCKS = {"cond": {"_true_fn", "_false_fn"}, "while_loop": {"_cond", "_body"}}
IN_THE_FILE_ALONE = {"write_state", "coreml_update_state"}


def registry() -> dict[str, list[type]]:
    from coremltools.converters.mil.mil.ops.registry import SSAOpRegistry

    return {name: list(found.values()) for name, found in SSAOpRegistry.core_ops.items()}


def test_every_operator_of_the_registry_is_known() -> None:
    known = set(OPERATORS) | {"const", "_const_symbolic"}
    assert set(registry()) == known - IN_THE_FILE_ALONE
    assert len(registry()) == 168


@pytest.mark.parametrize("name", sorted(set(OPERATORS) - IN_THE_FILE_ALONE))
def test_parameters_are_those_of_all_versions(name: str) -> None:
    given: set[str] = set()
    required: set[str] | None = None
    for version in registry()[name]:
        types = version.input_spec.input_types  # type: ignore[attr-defined]
        given |= {key for key in types if not key.startswith("_")}
        own = {key for key, kind in types.items() if not kind.optional and key[0] != "_"}
        required = own if required is None else required & own
    operator = OPERATORS[name]
    assert set(operator.parameters) == given
    if name != "make_list":
        # A list without element shape is legal in a file.
        assert {key for key, item in operator.parameters.items() if item.required} == required


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> MilModel:
    path = tmp_path_factory.mktemp("table") / "model.mlpackage"
    return MilModel(build(lambda x: mb.relu(x=x, name="y"), {"x": (2,)}, path))


def refused(model: MilModel, operation: Operation) -> str:
    block = model.package.program.functions["main"].block
    changed = type(block)(block.inputs, (operation,), block.outputs)
    with pytest.raises(UnsupportedError) as caught:
        Planner(model.package, "CoreML8").plan(changed)
    return str(caught.value)


def test_unknown_operators_and_parameters_are_refused(model: MilModel, tmp_path: Path) -> None:
    known = model.package.program.functions["main"].block.operations[-1]
    other = Operation("twist", known.inputs, known.outputs, (), {})
    assert "'twist'" in refused(model, other)
    flag = Value(TensorType("bool", ()), [True])
    more = Operation("relu", {**known.inputs, "leak": (flag,)}, known.outputs, (), {})
    assert "'leak'" in refused(model, more)
    less = Operation("relu", {}, known.outputs, (), {})
    assert "lacks parameter 'x'" in refused(model, less)
