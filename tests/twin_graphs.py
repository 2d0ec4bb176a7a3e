"""Small graphs with seeded weights that hold what the networks of the zoo are made of."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import onnx
import onnx_ir as ir
from onnx import numpy_helper

from edgekit.graph.canonicalize import canonicalize
from edgekit.graph.values import Array

_HEADER = '<ir_version: 10, opset_import: ["" : 20]>\n'


def make_model(text: str, constants: Mapping[str, Array] | None = None) -> ir.Model:
    """A canonical model from a graph in ONNX's text form.

    Args:
        text: The graph with its nodes.
        constants: Initializers by name.
    """
    proto = onnx.parser.parse_model(_HEADER + text)
    for name, array in (constants or {}).items():
        proto.graph.initializer.append(numpy_helper.from_array(array, name))
    return canonicalize(ir.from_proto(proto), verify=False).model


def weights(shapes: Mapping[str, tuple[int, ...]], seed: int = 0) -> dict[str, Array]:
    """Normal weights, scaled so that activations keep their size."""
    generator = np.random.default_rng(seed)
    found: dict[str, Array] = {}
    for name, shape in shapes.items():
        fan_in = max(1, int(np.prod(shape[1:])))
        spread = 0.1 if len(shape) == 1 else (2.0 / fan_in) ** 0.5
        found[name] = (generator.standard_normal(shape) * spread).astype(np.float32)
    return found


def convolutional() -> ir.Model:
    """Image [batch, 3, 16, 16] to class probabilities [batch, 10].

    Asymmetric padding, depthwise and strided convolution, residual sum, Split and Concat,
    squeeze and excitation, pooling, resizing, transposed convolution and a classifier.
    """
    text = """
    g (float[batch, 3, 16, 16] image) => (float[batch, 10] probabilities) {
      [stem] stem = Conv <kernel_shape = [3, 3], strides = [2, 2], pads = [0, 0, 1, 1]>
        (image, stem_weight, stem_bias)
      [stem_relu] stem_relu = Relu (stem)
      [expand] wide = Conv (stem_relu, expand_weight, expand_bias)
      [expand_act] wide_act = HardSwish (wide)
      [depthwise] deep = Conv <pads = [1, 1, 1, 1], group = 16>
        (wide_act, depthwise_weight, depthwise_bias)
      [relu6] deep_act = Clip (deep, zero, six)
      [squeeze] pooled = GlobalAveragePool (deep_act)
      [excite] small = Conv (pooled, excite_weight, excite_bias)
      [gate] gate = HardSigmoid <alpha = 0.16666667> (small)
      [scale] gated = Mul (deep_act, gate)
      [project] narrow = Conv (gated, project_weight, project_bias)
      [residual] sum = Add (narrow, stem_relu)
      [split] left, right = Split <axis = 1, num_outputs = 2> (sum)
      [shuffle] swapped = Concat <axis = 1> (right, left)
      [max_pool] halved = MaxPool <kernel_shape = [2, 2], strides = [2, 2]> (swapped)
      [avg_pool] mean = AveragePool <kernel_shape = [2, 2], strides = [2, 2]> (sum)
      [merge] both = Concat <axis = 1> (halved, mean)
      [up] up = ConvTranspose <kernel_shape = [2, 2], strides = [2, 2]>
        (both, up_weight, up_bias)
      [resize] big = Resize <mode = "linear"> (both, , resize_scales)
      [join] added = Add (up, big)
      [gap] final = GlobalAveragePool (added)
      [flatten] flat = Flatten (final)
      [classifier] logits = Gemm <transB = 1> (flat, classifier_weight, classifier_bias)
      [softmax] probabilities = Softmax (logits)
    }
    """
    constants = weights({
        "stem_weight": (8, 3, 3, 3), "stem_bias": (8,), "expand_weight": (16, 8, 1, 1),
        "expand_bias": (16,), "depthwise_weight": (16, 1, 3, 3), "depthwise_bias": (16,),
        "excite_weight": (16, 16, 1, 1), "excite_bias": (16,), "project_weight": (8, 16, 1, 1),
        "project_bias": (8,), "up_weight": (16, 16, 2, 2), "up_bias": (16,),
        "classifier_weight": (10, 16), "classifier_bias": (10,),
    })  # fmt: skip
    constants["zero"], constants["six"] = np.array(0, np.float32), np.array(6, np.float32)
    constants["resize_scales"] = np.array([1, 1, 2, 2], np.float32)
    return make_model(text, constants)


def transformer() -> ir.Model:
    """Tokens [batch, 6, 16] through one attention block, to the same shape."""
    text = """
    g (float[batch, 6, 16] tokens) => (float[batch, 6, 16] output) {
      [norm1] norm = LayerNormalization <axis = -1> (tokens, norm_scale, norm_bias)
      [qkv] qkv_product = MatMul (norm, qkv_weight)
      [qkv_add] qkv = Add (qkv_product, qkv_bias)
      [heads] heads = Reshape (qkv, head_shape)
      [order] ordered = Transpose <perm = [2, 0, 3, 1, 4]> (heads)
      [take_q] q = Gather <axis = 0> (ordered, first)
      [take_k] k = Gather <axis = 0> (ordered, second)
      [take_v] v = Gather <axis = 0> (ordered, third)
      [turn_k] k_turned = Transpose <perm = [0, 1, 3, 2]> (k)
      [scores] scores = MatMul (q, k_turned)
      [scale] scaled = Mul (scores, root)
      [attention] attention = Softmax <axis = -1> (scaled)
      [mix] mixed = MatMul (attention, v)
      [back] back = Transpose <perm = [0, 2, 1, 3]> (mixed)
      [join] joined = Reshape (back, token_shape)
      [proj] projected_product = MatMul (joined, proj_weight)
      [proj_add] projected = Add (projected_product, proj_bias)
      [residual1] residual = Add (tokens, projected)
      [fc1] hidden_product = MatMul (residual, fc1_weight)
      [fc1_add] hidden = Add (fc1_bias, hidden_product)
      [gelu] active = Gelu (hidden)
      [fc2] narrow_product = MatMul (active, fc2_weight)
      [fc2_add] narrow = Add (narrow_product, fc2_bias)
      [residual2] output = Add (residual, narrow)
    }
    """
    constants = weights({
        "norm_bias": (16,), "qkv_weight": (16, 48), "qkv_bias": (48,), "proj_weight": (16, 16),
        "proj_bias": (16,), "fc1_weight": (16, 32), "fc1_bias": (32,), "fc2_weight": (32, 16),
        "fc2_bias": (16,),
    })  # fmt: skip
    constants["norm_scale"] = np.linspace(0.5, 1.5, 16, dtype=np.float32)
    constants["head_shape"] = np.array([0, 0, 3, 2, 8])
    constants["token_shape"] = np.array([0, 0, 16])
    constants["root"] = np.array(8**-0.5, np.float32)
    for index, name in enumerate(("first", "second", "third")):
        constants[name] = np.array(index)
    return make_model(text, constants)


def recurrent() -> ir.Model:
    """Sequence [5, batch, 4] through LSTM (both ways), GRU and RNN to [5, batch, 3]."""
    text = """
    g (float[5, batch, 4] steps) => (float[5, 1, batch, 3] output, float[2, batch, 6] state) {
      [lstm] y, state, cell = LSTM <hidden_size = 6, direction = "bidirectional">
        (steps, lstm_w, lstm_r, lstm_b)
      [turn] turned = Transpose <perm = [0, 2, 1, 3]> (y)
      [wide] wide = Reshape (turned, wide_shape)
      [gru] torch_like, last = GRU <hidden_size = 5, linear_before_reset = 1>
        (wide, gru_w, gru_r, gru_b)
      [plain] plain = Squeeze (torch_like, one)
      [reset_first] other, last2 = GRU <hidden_size = 4> (plain, gru2_w, gru2_r, gru2_b)
      [plain2] plain2 = Squeeze (other, one)
      [rnn] output, last3 = RNN <hidden_size = 3, direction = "reverse">
        (plain2, rnn_w, rnn_r, rnn_b)
    }
    """
    shapes = {
        "lstm_w": (2, 24, 4), "lstm_r": (2, 24, 6), "lstm_b": (2, 48), "gru_w": (1, 15, 12),
        "gru_r": (1, 15, 5), "gru_b": (1, 30), "gru2_w": (1, 12, 5), "gru2_r": (1, 12, 4),
        "gru2_b": (1, 24), "rnn_w": (1, 3, 4), "rnn_r": (1, 3, 3), "rnn_b": (1, 6),
    }  # fmt: skip
    generator = np.random.default_rng(0)
    constants: dict[str, Array] = {
        name: generator.uniform(-0.6, 0.6, shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    constants["wide_shape"] = np.array([5, -1, 12])
    constants["one"] = np.array([1])
    return make_model(text, constants)
