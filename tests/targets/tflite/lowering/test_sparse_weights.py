"""Filters without their zeros: the same numbers, in a smaller file."""

from __future__ import annotations

import flatbuffers
import numpy as np
import onnx_ir as ir
import pytest
from ai_edge_litert import schema_py_generated as schema
from hypothesis import given, settings
from hypothesis import strategies as st

from edgekit.errors import InputError
from edgekit.targets.tflite.lowering import LoweringOptions, lower_graph
from edgekit.targets.tflite.lowering.sparse_storage import compressed_rows, whole_tensor
from edgekit.targets.tflite.model_file import parse_model
from edgekit.targets.tflite.operator_costs import count_arithmetic, count_macs, count_parameters
from tests.targets.tflite.lowering.single_op import (
    Array,
    Case,
    build,
    operator_counts,
    run_litert,
    run_onnxruntime,
)

SHAPE = (1, 24, 6, 5)


def sparse(shape: tuple[int, ...], zeros: int, seed: int = 3) -> Array:
    """Random numbers of which exactly so many are 0."""
    rng = np.random.default_rng(seed)
    flat = rng.uniform(0.1, 1, int(np.prod(shape))).astype(np.float32)
    flat[rng.permutation(flat.size)[:zeros]] = 0
    return flat.reshape(shape)


def conv(filters: Array, attributes: str = "") -> Case:
    units = filters.shape[0]
    return Case(
        "conv", f"y = Conv {attributes} (x, w, b)", {"x": SHAPE},
        {"w": filters, "b": (units,)},
    )  # fmt: skip


@pytest.mark.parametrize("zeros", [320, 400, 479])
def test_a_sparse_filter_computes_the_same_in_fewer_bytes(zeros: int) -> None:
    case = conv(sparse((20, 24, 1, 1), zeros))
    model = build(case)
    lowered = lower_graph(ir.from_proto(model), LoweringOptions())
    assert operator_counts(lowered.data) == {"DENSIFY": 1, "CONV_2D": 1}
    assert any("1 convolution of 1x1" in note for note in lowered.notes)
    feeds = {"x": np.random.default_rng(1).uniform(-3, 3, SHAPE).astype(np.float32)}
    wanted = run_onnxruntime(model, feeds)
    for delegate in (True, False):
        found = run_litert(lowered.data, lowered.signature, feeds, delegate=delegate)
        np.testing.assert_allclose(found["y"], wanted["y"], rtol=1e-5, atol=1e-5)
    stored = parse_model(lowered.data, "m.tflite").main.tensors
    assert [item.name for item in stored if item.constant][:1] == ["w/sparse"]
    dense = lower_graph(ir.from_proto(build(conv(sparse((20, 24, 1, 1), 0)))), LoweringOptions())
    assert len(lowered.data) < len(dense.data) + 700 - 3 * zeros


@pytest.mark.parametrize(
    ("filters", "attributes"),
    [
        (sparse((20, 24, 1, 1), 319), ""),  # one zero too few
        (sparse((20, 24, 1, 1), 480), ""),  # nothing is left
        (sparse((20, 24, 3, 3), 4000), ""),
        (sparse((20, 12, 1, 1), 200), "<group = 2>"),
        (sparse((24, 1, 1, 1), 20), "<group = 24>"),
    ],
    ids=["dense", "zeros alone", "3x3", "groups", "depthwise"],
)
def test_what_has_no_sparse_kernel_stays_dense(filters: Array, attributes: str) -> None:
    lowered = lower_graph(ir.from_proto(build(conv(filters, attributes))), LoweringOptions())
    assert "DENSIFY" not in operator_counts(lowered.data)
    assert not any("DENSIFY" in note for note in lowered.notes)


def test_half_precision_stays_dense() -> None:
    model = ir.from_proto(build(conv(sparse((20, 24, 1, 1), 400))))
    lowered = lower_graph(model, LoweringOptions(weights_dtype="float16"))
    assert "DENSIFY" not in operator_counts(lowered.data)


def test_figures_are_those_of_the_dense_file() -> None:
    files = []
    for zeros in (0, 400):
        lowered = lower_graph(
            ir.from_proto(build(conv(sparse((20, 24, 1, 1), zeros)))), LoweringOptions()
        )
        files.append(parse_model(lowered.data, "m.tflite"))
    dense, thin = files
    assert count_macs(dense) == count_macs(thin)
    assert count_parameters(dense) == count_parameters(thin) == 500
    assert count_arithmetic(thin).floating == count_arithmetic(dense).floating == 1
    assert count_arithmetic(thin).constant_dequantize == 1


def restored(sparsity: schema.SparsityParametersT, values: Array, shape: tuple[int, ...]) -> Array:
    """The tensor of which `compressed_rows` was made, by the schema's rules alone."""
    last = sparsity.dimMetadata[-1]
    starts, places = last.arraySegments.values, last.arrayIndices.values
    rows = np.zeros((len(starts) - 1, shape[-1]), np.float32)
    for row in range(len(rows)):
        for element in range(int(starts[row]), int(starts[row + 1])):
            rows[row, places[element]] = values[element]
    return rows.reshape(shape)


@settings(deadline=None, max_examples=60)
@given(st.data())
def test_rows_are_compressed_without_loss(data: st.DataObject) -> None:
    last = data.draw(st.sampled_from([1, 7, 255, 256, 300]))
    shape = (data.draw(st.integers(1, 40)), 1, 1, last)
    size = int(np.prod(shape))
    array = sparse(shape, data.draw(st.integers(0, size)), data.draw(st.integers(0, 99)))
    sparsity, values = compressed_rows(array)
    assert [item.denseSize for item in sparsity.dimMetadata[:-1]] == list(shape[:-1])
    np.testing.assert_array_equal(restored(sparsity, values, shape), array)
    np.testing.assert_array_equal(whole_tensor(sparsity, values, shape), array)
    for vector in (sparsity.dimMetadata[-1].arraySegments, sparsity.dimMetadata[-1].arrayIndices):
        highest = int(vector.values.max(initial=0))
        smallest = np.min_scalar_type(highest).itemsize
        assert vector.values.itemsize == smallest


def changed(change: str) -> bytes:
    """A file with a sparse filter that was altered in one place."""
    case = conv(sparse((20, 24, 1, 1), 400))
    data = lower_graph(ir.from_proto(build(case)), LoweringOptions()).data
    model = schema.ModelT.InitFromObj(schema.Model.GetRootAsModel(data, 0))
    (tensor,) = [item for item in model.subgraphs[0].tensors if item.sparsity is not None]
    last = tensor.sparsity.dimMetadata[-1]
    starts, places = last.arraySegments, last.arrayIndices
    starts.values, places.values = starts.values.copy(), places.values.copy()
    if change == "starts":
        starts.values[3] = 200
    elif change == "end":
        starts.values[-1] = 79
    elif change == "place":
        places.values[5] = 24
    elif change == "rows":
        tensor.sparsity.dimMetadata[0].denseSize = 21
    elif change == "axes":
        tensor.sparsity.dimMetadata = tensor.sparsity.dimMetadata[1:]
    elif change == "content":
        model.buffers[tensor.buffer].data = model.buffers[tensor.buffer].data[:-4]
    builder = flatbuffers.Builder(1024)
    builder.Finish(model.Pack(builder), b"TFL3")
    return bytes(builder.Output())


@pytest.mark.parametrize("change", ["starts", "end", "place", "rows", "axes", "content"])
def test_a_damaged_sparse_tensor_is_one_error(change: str) -> None:
    with pytest.raises(InputError, match=r"is damaged: tensor 'w/sparse' has the shape"):
        parse_model(changed(change), "m.tflite")


def test_an_undamaged_one_is_read() -> None:
    assert parse_model(changed(""), "m.tflite").main.operators[0].name == "DENSIFY"
