"""Cases of recurrent layers, which are unrolled before they are lowered."""

from __future__ import annotations

from tests.targets.tflite.lowering.single_op import Case

RECURRENT = [
    Case(
        "lstm",
        "y, h, c = LSTM <hidden_size = 5> (x, w, r, b)",
        {"x": (3, 2, 4)},
        {"w": (1, 20, 4), "r": (1, 20, 5), "b": (1, 40)},
        outputs=("y", "h", "c"),
        ops={
            # One projection, and a product of the state in every step but the first.
            "FULLY_CONNECTED": 3, "SLICE": 3, "SPLIT": 3, "LOGISTIC": 8, "TANH": 6, "MUL": 8,
            "ADD": 4, "CONCATENATION": 1, "RESHAPE": 1,
        },
    ),
    Case(
        "lstm_of_one_step_with_states",
        "y, h1, c1 = LSTM <hidden_size = 5> (x, w, r, b, , h, c)",
        {"x": (1, 1, 4), "h": (1, 1, 5), "c": (1, 1, 5)},
        {"w": (1, 20, 4), "r": (1, 20, 5), "b": (1, 40)},
        outputs=("y", "h1", "c1"),
        ops={
            "FULLY_CONNECTED": 2, "SPLIT": 1, "LOGISTIC": 3, "TANH": 2, "MUL": 3, "ADD": 2,
            "RESHAPE": 1,
        },
    ),
    Case(
        "gru_bidirectional_batch_first",
        "t = Transpose <perm = [1,0,2]> (x)\n"
        'g, h = GRU <hidden_size = 5, direction = "bidirectional", linear_before_reset = 1> '
        "(t, w, r, b)\ny = Transpose <perm = [2,0,1,3]> (g)",
        {"x": (2, 3, 4)},
        {"w": (2, 15, 4), "r": (2, 15, 5), "b": (2, 30)},
        outputs=("y", "h"),
    ),
    Case(
        "rnn_reverse",
        'y, h = RNN <hidden_size = 5, direction = "reverse"> (x, w, r)',
        {"x": (3, 2, 4)},
        {"w": (1, 5, 4), "r": (1, 5, 5)},
        outputs=("y", "h"),
    ),
]  # fmt: skip
