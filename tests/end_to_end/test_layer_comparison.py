"""Faults planted in artifacts of real networks: the layer that bears one is named first."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx_ir as ir
import pytest

from edgekit.core.layer_error import ArtifactErrors
from edgekit.core.observation import ObservableSession
from edgekit.graph.io import load_onnx
from edgekit.graph.observed_graph import ObservedGraph
from edgekit.measure.layer_comparison import Subject, compare_layers
from edgekit.targets.coreml.observation import ObservedPackage
from edgekit.targets.tflite.observation import ObservedFile
from tests.end_to_end.compared_networks import Network, build
from tests.targets.coreml import planted_faults as in_package
from tests.targets.tflite import planted_faults as in_file

type Networks = Callable[[str], Network]
type Plant = Callable[[Network, Path], Path]


@pytest.fixture(scope="module")
def networks(tmp_path_factory: pytest.TempPathFactory) -> Networks:
    """Builds each network once."""
    built: dict[str, Network] = {}

    def network(name: str) -> Network:
        if name not in built:
            built[name] = build(name, tmp_path_factory.mktemp(name))
        return built[name]

    return network


def compared(network: Network, path: Path, reference: Path | None = None) -> ArtifactErrors:
    """Compares an artifact with the float graph, or with another one."""
    with closing(opened(reference or network.onnx)) as right, closing(opened(path)) as faulty:
        subjects = Subject("reference", "onnx", right), Subject(path.name, "artifact", faulty)
        result = compare_layers(subjects[0], [subjects[1]], network.batches, "samples")
    return result.artifacts[0]


def opened(path: Path) -> ObservableSession:
    if path.suffix == ".tflite":
        return ObservedFile(path)
    if path.suffix == ".mlpackage":
        return ObservedPackage(path)
    return ObservedGraph(load_onnx(path), "ONNX Runtime")


LAYERS = {
    # An activation that only layers read, a layer without activation, and an activation.
    "resnet20": ("relu_9", "getitem_18", "relu_7"),
    "mobilenet_v2": ("hardtanh_14", "getitem_42", "hardtanh_11"),
    "tiny_vit": ("linear_11", "linear_10", "gelu_1"),
}
MATMULS = {"linear_10": "val_83"}
"""Products whose bias Core ML adds in an operator of its own."""


def tflite_fault(fault: str, name: str) -> tuple[str, Plant]:
    """The tensor that is to be named, and how to plant a fault in it."""
    activation, layer, _ = LAYERS[name]
    plants: dict[str, tuple[str, Plant]] = {
        "scale twice as large": (
            activation,
            lambda net, path: in_file.rescale(net.tflite["int8"], path, activation, 2),
        ),
        "saturated activation": (
            activation,
            lambda net, path: in_file.rescale(net.tflite["int8"], path, activation, 1 / 6),
        ),
        "swapped channels": (
            layer,
            lambda net, path: in_file.swap_channels(net.tflite["int8"], path, layer),
        ),
        "wrong fused activation": (
            layer,
            lambda net, path: in_file.activate(net.tflite["int8"], path, layer, in_file.RELU),
        ),
    }
    return plants[fault]


def coreml_fault(fault: str, name: str) -> tuple[str, Plant]:
    """The same for packages."""
    activation, layer, last = LAYERS[name]
    product = MATMULS.get(layer, layer)
    plants: dict[str, tuple[str, Plant]] = {
        "scale twice as large": (
            activation,
            lambda net, path: in_package.rescale(net.coreml["int8"], path, activation, 2),
        ),
        "saturated activation": (
            activation,
            lambda net, path: in_package.rescale(net.coreml["int8"], path, activation, 1 / 6),
        ),
        "swapped channels": (
            product,
            lambda net, path: in_package.swap_channels(net.coreml["int8"], path, product),
        ),
        # Behind a removed Relu int8 would clip all the same: the quantize does it.
        "wrong fused activation": (
            last,
            lambda net, path: in_package.remove(net.coreml["float32"], path, last),
        ),
    }
    return plants[fault]


FAULTS = (
    "scale twice as large", "saturated activation", "swapped channels", "wrong fused activation",
)  # fmt: skip
NETWORKS = ["resnet20", "mobilenet_v2", "tiny_vit"]


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_tflite(fault: str, name: str, networks: Networks, tmp_path: Path) -> None:
    tensor, plant = tflite_fault(fault, name)
    errors = compared(networks(name), plant(networks(name), tmp_path / "faulty.tflite"))
    require_first(errors, tensor, fault)


@pytest.mark.parametrize("name", NETWORKS)
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_in_core_ml(fault: str, name: str, networks: Networks, tmp_path: Path) -> None:
    tensor, plant = coreml_fault(fault, name)
    errors = compared(networks(name), plant(networks(name), tmp_path / "faulty.mlpackage"))
    require_first(errors, tensor, fault)


CAUSES = {
    "scale twice as large": "coarse-step",
    "saturated activation": "clipping",
    "swapped channels": "computation",
    "wrong fused activation": "computation",
}


def require_first(errors: ArtifactErrors, tensor: str, fault: str) -> None:
    assert errors.culprits, errors.verdict
    assert errors.culprits[0].tensor == tensor, errors.verdict
    assert errors.culprits[0].cause == CAUSES[fault], errors.verdict
    assert errors.ranking[0] == tensor
    assert errors.verdict.startswith("First culprit: ")
    layer = errors.layer(tensor)
    assert layer.own_share is not None
    # What comes after inherits the error; what comes before is untouched.
    assert layer.out_of_line
    if fault != "scale twice as large":
        assert layer.own_share > 0.5
        output = errors.outputs[0]
        assert output.own_share is not None
        assert output.own_share < 0.1


@pytest.mark.parametrize("name", NETWORKS)
def test_sound_artifacts_have_no_culprit(name: str, networks: Networks) -> None:
    network = networks(name)
    for path in (*network.tflite.values(), *network.coreml.values(), network.qdq):
        errors = compared(network, path)
        assert errors.culprits == (), f"{path.name}: {errors.verdict}"
        assert errors.verdict.startswith("No layer is out of line")
        assert errors.remedies == () or name == "mobilenet_v2"
    for path in (network.tflite["int8"], network.coreml["int8"]):
        errors = compared(network, path, network.qdq)
        assert errors.culprits == (), f"{path.name}: {errors.verdict}"


@pytest.mark.parametrize("name", ["resnet20", pytest.param("tiny_vit", marks=pytest.mark.slow)])
def test_calibration_on_few_samples_is_no_fault(name: str, tmp_path: Path) -> None:
    """Scores lie beyond the range that 8 samples gave, but not in every sample."""
    network = build(name, tmp_path, calibrated=8)
    network = replace(network, batches=network.more)
    for path in (network.tflite["int8"], network.coreml["int8"], network.qdq):
        errors = compared(network, path)
        assert errors.culprits == (), f"{path.name}: {errors.verdict}"
        assert any("as after calibration on few" in note for note in errors.notes)
    activation = LAYERS[name][0]
    for factor, cause in ((1 / 6, "clipping"), (1 / 2, "clipping"), (2.0, "coarse-step")):
        faulty = tmp_path / "faulty.tflite"
        in_file.rescale(network.tflite["int8"], faulty, activation, factor)
        errors = compared(network, faulty)
        found = [(item.tensor, item.cause) for item in errors.culprits]
        assert found == [(activation, cause)], errors.verdict


def test_an_activation_that_float_arithmetic_forgets(networks: Networks, tmp_path: Path) -> None:
    network = networks("resnet20")
    path = in_file.activate(
        network.tflite["float32"], tmp_path / "faulty.tflite", "relu_7", in_file.NONE
    )
    require_first(compared(network, path), "relu_7", "wrong fused activation")


def test_a_scale_whose_readers_compute_wrongly_as_well(networks: Networks, tmp_path: Path) -> None:
    """The biases of the next layer are counted in steps of the wrong scale."""
    network = networks("resnet20")
    for factor in (2.0, 0.5):
        path = tmp_path / f"{factor}.tflite"
        in_file.rescale(network.tflite["int8"], path, "relu_9", factor, alone=True)
        errors = compared(network, path)
        assert [item.tensor for item in errors.culprits[:2]] == ["relu_9", "getitem_30"]


def test_values_that_a_package_restores_twice_as_large(networks: Networks, tmp_path: Path) -> None:
    network = networks("resnet20")
    path = tmp_path / "faulty.mlpackage"
    in_package.rescale(network.coreml["int8"], path, "relu_9", 2, ("dequantize",))
    errors = compared(network, path)
    assert errors.culprits[0].tensor == "relu_9"
    assert errors.culprits[0].cause == "computation"


def test_against_the_qdq_graph(networks: Networks, tmp_path: Path) -> None:
    network = networks("resnet20")
    path = in_file.swap_channels(network.tflite["int8"], tmp_path / "faulty.tflite", "getitem_18")
    assert compared(network, path, network.qdq).culprits[0].tensor == "getitem_18"


def test_a_copy_is_equal(networks: Networks, tmp_path: Path) -> None:
    network = networks("resnet20")
    path = tmp_path / "copy.tflite"
    path.write_bytes(network.tflite["int8"].read_bytes())
    errors = compared(network, path, network.tflite["int8"])
    assert errors.culprits == ()
    assert errors.verdict == (
        f"No difference: all {len(errors.layers)} tensors are equal, element by element."
    )
    assert all(layer.cumulative.equal for layer in errors.layers)


def test_other_weights_are_another_model(networks: Networks, tmp_path: Path) -> None:
    network = networks("resnet20")
    model = load_onnx(network.onnx)
    for value in model.graph.initializers.values():
        array = value.const_value.numpy() if value.const_value is not None else None
        if array is not None and array.ndim == 4:
            value.const_value = ir.tensor(np.ascontiguousarray(array[::-1]), name=value.name)
    with (
        closing(ObservedGraph(model, "ONNX Runtime")) as right,
        closing(opened(network.tflite["float32"])) as other,
    ):
        subjects = Subject("reference", "onnx", right), Subject("other", "tflite", other)
        result = compare_layers(subjects[0], [subjects[1]], network.batches[:2], "samples")
    assert result.artifacts[0].verdict == (
        "Most layers compute something else than the reference, each on the reference's own "
        "values: this is another model, or the same one with other weights."
    )
