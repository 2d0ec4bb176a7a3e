"""Cases of products: two activations, constants of any rank on either side, Gemm's forms."""

from __future__ import annotations

import numpy as np

from tests.targets.tflite.lowering.single_op import Case, ints

_RANKS: dict[str, tuple[tuple[int, ...], tuple[int, ...]]] = {
    "2_2": ((3, 4), (4, 5)),
    "3_3": ((2, 3, 4), (2, 4, 5)),
    "3_2": ((2, 3, 4), (4, 5)),
    "2_3": ((3, 4), (2, 4, 5)),
    "4_4_repeats_both": ((2, 1, 3, 4), (1, 3, 4, 5)),
    "4_3": ((2, 3, 3, 4), (3, 4, 5)),
    "5_5_repeats": ((2, 1, 2, 3, 4), (2, 3, 1, 4, 5)),
}

PRODUCTS = [
    *(
        Case(f"product_{name}", "y = MatMul(x, z)", {"x": x, "z": z}, ops={"BATCH_MATMUL": 1})
        for name, (x, z) in _RANKS.items()
    ),
    Case(
        "product_of_a_transposed_second",
        "t = Transpose <perm = [0,1,3,2]> (z)\ny = MatMul(x, t)",
        {"x": (2, 3, 4, 6), "z": (2, 3, 5, 6)},
        ops={"BATCH_MATMUL": 1},
    ),
    Case(
        "product_of_a_transposed_first",
        "t = Transpose <perm = [0,2,1]> (x)\ny = MatMul(t, z)",
        {"x": (2, 6, 4), "z": (2, 6, 5)},
        ops={"BATCH_MATMUL": 1},
    ),
    Case(
        "product_that_repeats_a_transposed_first_is_not_adjoint",
        "t = Transpose <perm = [0,2,1]> (x)\ny = MatMul(t, z)",
        {"x": (1, 6, 4), "z": (2, 6, 5)},
        ops={"TRANSPOSE": 1, "BATCH_MATMUL": 1},
    ),
    Case(
        "product_in_a_common_order_of_batch_axes",
        "a = Transpose <perm = [1,0,2,3]> (x)\nb = Transpose <perm = [1,0,3,2]> (z)\n"
        "m = MatMul(a, b)\ny = Transpose <perm = [1,0,2,3]> (m)",
        {"x": (2, 3, 4, 6), "z": (2, 3, 5, 6)},
        ops={"BATCH_MATMUL": 1},
    ),
    Case(
        "product_with_missing_batch_axes_in_the_middle",
        "a = Transpose <perm = [1,0,2,3]> (x)\nm = MatMul(a, z)\n"
        "y = Transpose <perm = [1,0,2,3]> (m)",
        {"x": (2, 3, 4, 6), "z": (2, 6, 5)},
        ops={"BATCH_MATMUL": 1, "RESHAPE": 1},
    ),
    Case(
        "attention",
        "q = MatMul(x, wq)\nqr = Reshape(q, s)\nqt = Transpose <perm = [0,2,1,3]> (qr)\n"
        "k = MatMul(x, wk)\nkr = Reshape(k, s)\nkt = Transpose <perm = [0,2,3,1]> (kr)\n"
        "v = MatMul(x, wv)\nvr = Reshape(v, s)\nvt = Transpose <perm = [0,2,1,3]> (vr)\n"
        "d = MatMul(qt, kt)\np = Softmax(d)\no = MatMul(p, vt)\n"
        "ot = Transpose <perm = [0,2,1,3]> (o)\nor = Reshape(ot, r)\ny = MatMul(or, wo)",
        {"x": (2, 7, 8)},
        {
            "wq": (8, 8),
            "wk": (8, 8),
            "wv": (8, 8),
            "wo": (8, 8),
            "s": ints(2, 7, 2, 4),
            "r": ints(2, 7, 8),
        },
        ops={
            "FULLY_CONNECTED": 4,
            "RESHAPE": 4,
            "TRANSPOSE": 4,
            "BATCH_MATMUL": 2,
            "SOFTMAX": 1,
        },
    ),
    Case(
        "product_by_a_constant_of_rank_3",
        "m = MatMul(x, w)\ny = Add(m, b)",
        {"x": (1, 3, 4)},
        {"w": (2, 4, 5), "b": (5,)},
        ops={"BATCH_MATMUL": 1, "ADD": 1},
    ),
    Case(
        "constant_times_value",
        "y = MatMul(w, x)",
        {"x": (2, 4, 5)},
        {"w": (3, 4)},
        ops={"BATCH_MATMUL": 1},
    ),
    Case(
        "constant_times_value_with_columns_stored_last",
        "t = Transpose <perm = [0,2,1]> (x)\nm = MatMul(w, t)\ny = Transpose <perm = [0,2,1]> (m)",
        {"x": (2, 5, 4)},
        {"w": (3, 4)},
        ops={"FULLY_CONNECTED": 1},
    ),
    Case(
        "constant_of_rank_3_times_value",
        "y = MatMul(w, x)",
        {"x": (4, 5)},
        {"w": (2, 3, 4)},
        ops={"BATCH_MATMUL": 1},
    ),
    Case(
        "value_times_constant_vector",
        "y = MatMul(x, w)",
        {"x": (2, 3, 4)},
        {"w": (4,)},
        ops={"FULLY_CONNECTED": 1, "RESHAPE": 1},
    ),
    Case(
        "vector_times_value",
        "y = MatMul(z, x)",
        {"x": (2, 4, 3), "z": (4,)},
        ops={"RESHAPE": 2, "BATCH_MATMUL": 1},
    ),
    Case(
        "gemm_first_transposed",
        "y = Gemm <transA = 1> (x, w, b)",
        {"x": (8, 3)},
        {"w": (8, 5), "b": (5,)},
        ops={"TRANSPOSE": 1, "FULLY_CONNECTED": 1},
    ),
    Case(
        "gemm_of_activations",
        "y = Gemm <transA = 1, transB = 1, alpha = 0.5, beta = 2.0> (x, z, c)",
        {"x": (8, 3), "z": (5, 8), "c": (3, 1)},
        ops={"BATCH_MATMUL": 1, "MUL": 2, "ADD": 1},
    ),
    Case(
        "gemm_of_activations_with_constant_addend_is_not_fused",
        "g = Gemm <beta = 3.0> (x, z, c)\ny = Relu(g)",
        {"x": (3, 8), "z": (8, 5)},
        {"c": (5,)},
        ops={"BATCH_MATMUL": 1, "ADD": 1, "RELU": 1},
    ),
    Case(
        "gemm_of_activations_alone",
        "g = Gemm <alpha = 0.25> (x, z)\nh = Gemm(g, x)\ny = Relu(h)",
        {"x": (4, 4), "z": (4, 4)},
        ops={"BATCH_MATMUL": 2, "MUL": 1, "RELU": 1},
    ),
    Case(
        "gemm_of_a_constant_first",
        "y = Gemm(w, x)",
        {"x": (4, 5)},
        {"w": (3, 4)},
        ops={"BATCH_MATMUL": 1},
    ),
    Case(
        "batch_moved_before_flatten",
        "t = Transpose <perm = [1,0,2]> (x)\nf = Flatten(t)\ny = Gemm(f, w)",
        {"x": (3, 2, 4)},
        {"w": (12, 5)},
        ops={"TRANSPOSE": 1, "RESHAPE": 1, "FULLY_CONNECTED": 1},
    ),
    Case(
        "gemm_of_a_transposed_matrix",
        "t = Transpose(x)\nn = Neg(t)\ny = Gemm(n, w)",
        {"x": (4, 4)},
        {"w": (4, 5)},
        ops={"NEG": 1, "TRANSPOSE": 1, "FULLY_CONNECTED": 1},
    ),
    Case(
        "matmul_bias_of_another_shape_is_added",
        "m = MatMul(x, w)\ny = Add(m, b)",
        {"x": (2, 3, 4)},
        {"w": (4, 5), "b": np.ones((3, 1), np.float32)},
        ops={"FULLY_CONNECTED": 1, "ADD": 1},
    ),
]
