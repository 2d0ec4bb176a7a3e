from __future__ import annotations

import numpy as np
import pytest
from pydantic import ValidationError

from edgekit.core.quant import (
    HARD_SIGMOID_SCALE,
    SCHEMES,
    ActivationScheme,
    LayerOverride,
    QuantConstraints,
    QuantScheme,
    WeightScheme,
    custom_scheme,
    named_scheme,
)
from edgekit.errors import ConfigError
from edgekit.quantization.options import QuantizeOptions


def test_fixed_scales_are_numbers_of_float16_but_for_one() -> None:
    constraints = QuantConstraints()
    for fixed in constraints.fixed_outputs.values():
        assert float(np.float16(fixed.scale)) == fixed.scale
    others = {
        name
        for name, fixed in constraints.fixed_outputs_16.items()
        if float(np.float16(fixed.scale)) != fixed.scale
    }
    assert others == {"HardSigmoid"}


def test_a_hard_sigmoid_ends_at_one() -> None:
    scale = np.float16(HARD_SIGMOID_SCALE)
    assert float(scale) == HARD_SIGMOID_SCALE
    assert 255 * float(scale) <= 1 < 255 * float(np.nextafter(scale, np.float16(1)))
    # 1 itself is rounded to the highest integer.
    assert round(1 / HARD_SIGMOID_SCALE) == 255


def test_names_decode_to_what_they_say() -> None:
    described = {
        name: (
            scheme.activations and scheme.activations.bits,
            scheme.weights and (scheme.weights.bits, scheme.weights.granularity),
        )
        for name, scheme in SCHEMES.items()
    }
    assert described == {
        "int8": (8, (8, "per-channel")),
        "int8-weights": (None, (8, "per-channel")),
        "int4-weights": (None, (4, "blockwise")),
        "float16": (None, None),
        "int16x8": (16, (8, "per-channel")),
    }


def test_unknown_name_suggests_the_nearest() -> None:
    with pytest.raises(ConfigError, match=r"no quantization scheme 'int8-weight'.*'int8-weights'"):
        named_scheme("int8-weight")


def test_override_changes_only_what_it_names() -> None:
    scheme = QuantScheme(overrides=(LayerOverride(pattern="head*", weight_bits=4),))
    head, body = scheme.choice_for("head.0"), scheme.choice_for("body")
    assert head.weights == WeightScheme(bits=4, granularity="per-channel")
    assert head.activations == ActivationScheme()
    assert body.weights == WeightScheme()


def test_override_to_sixteen_bits_is_symmetric() -> None:
    scheme = QuantScheme(overrides=(LayerOverride(pattern="a", activation_bits=16),))
    assert scheme.choice_for("a").activations == ActivationScheme(bits=16, symmetric=True)
    back = named_scheme("int16x8").model_copy(
        update={"overrides": (LayerOverride(pattern="a", activation_bits=8),)}
    )
    assert back.choice_for("a").activations == ActivationScheme(bits=8, symmetric=False)


def test_pattern_of_a_part_holds_for_the_whole_unit() -> None:
    scheme = QuantScheme(keep_float=("relu_3",))
    assert scheme.choice_for("conv_3", "relu_3").keep_float == (
        "kept in float by the pattern 'relu_3'"
    )
    assert not scheme.choice_for("conv_4", "relu_4").keep_float


def test_overrides_that_disagree_name_layer_field_and_patterns() -> None:
    scheme = QuantScheme(
        overrides=(
            LayerOverride(pattern="block.*", weight_bits=8),
            LayerOverride(pattern="*.conv", weight_bits=4),
        )
    )
    with pytest.raises(
        ConfigError,
        match=r"contradict each other on weight_bits of layer 'block.conv': "
        r"'block\.\*' says 8, '\*\.conv' says 4",
    ):
        scheme.choice_for("block.conv")
    assert scheme.choice_for("block.fc").weights == WeightScheme(bits=8)


def test_keep_float_against_an_override() -> None:
    scheme = QuantScheme(
        keep_float=("head*",), overrides=(LayerOverride(pattern="*.fc", weight_bits=4),)
    )
    with pytest.raises(ConfigError, match=r"'head.fc' is kept in float by pattern 'head\*'"):
        scheme.choice_for("head.fc")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"pattern": "a"}, "'a' changes nothing"),
        ({"pattern": "a", "keep_float": True, "weight_bits": 4}, "also sets weight_bits"),
        ({"pattern": "a", "weight_bits": 5}, "Input should be 4 or 8"),
        ({"pattern": "a", "bits": 8}, "Extra inputs are not permitted"),
    ],
)
def test_override_that_contradicts_itself(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        LayerOverride.model_validate(fields)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"weights": None}, "activations cannot be quantized without the weights"),
        ({"weights": {"granularity": "blockwise"}}, "blockwise weights have no integer kernels"),
        (
            {
                "overrides": [
                    {"pattern": "a", "weight_bits": 4},
                    {"pattern": "a", "weight_bits": 8},
                ]
            },
            "two overrides have the pattern 'a'",
        ),
        (
            {"activations": None, "overrides": [{"pattern": "a", "activation_bits": 8}]},
            "leaves activations in float",
        ),
        ({"activations": {"bits": 16}}, "16-bit activations have no zero point"),
    ],
)
def test_scheme_that_contradicts_itself(fields: dict[str, object], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        QuantScheme.model_validate(fields)


def test_weights_of_a_float_scheme_cannot_be_overridden() -> None:
    scheme = named_scheme("float16").model_copy(
        update={"overrides": (LayerOverride(pattern="fc", weight_bits=4),)}
    )
    with pytest.raises(ConfigError, match="'float16' leaves weights in float"):
        scheme.choice_for("fc")


def test_blockwise_override_beside_quantized_activations() -> None:
    scheme = QuantScheme(overrides=(LayerOverride(pattern="fc", granularity="blockwise"),))
    with pytest.raises(ConfigError, match="'fc' blockwise weights"):
        scheme.choice_for("fc")


def test_custom_scheme_changes_a_named_one() -> None:
    scheme = custom_scheme(
        "int8",
        keep_float=["stem*"],
        overrides=[LayerOverride(pattern="fc", weight_bits=4), {"pattern": "b", "weight_bits": 8}],
        scale_format="float16",
    )
    assert scheme.name == "int8"
    assert scheme.choice_for("stem.conv").keep_float
    assert scheme.choice_for("fc").weights == WeightScheme(bits=4)
    assert scheme.scale_format == "float16"


def test_custom_scheme_lists_every_contradiction() -> None:
    with pytest.raises(ConfigError) as caught:
        custom_scheme(
            "int8",
            overrides=[
                {"pattern": "a"},
                {"pattern": "b", "keep_float": True, "weight_bits": 4},
                {"pattern": "c", "weight_bit": 4},
            ],
        )
    message = str(caught.value)
    assert message.startswith("Quantization scheme 'int8' has 3 problems:")
    assert "the override for 'a' changes nothing" in message
    assert "the override for 'b' keeps the layer in float and also sets weight_bits" in message
    assert "overrides.2.weight_bit: unknown key. Did you mean 'weight_bits'?" in message


def test_how_weight_scales_are_chosen() -> None:
    fits = {name: scheme.weights.fit for name, scheme in SCHEMES.items() if scheme.weights}
    assert fits == {
        "int8": "largest", "int16x8": "largest", "int8-weights": "largest", "int4-weights": "mse",
    }  # fmt: skip
    changed = QuantizeOptions(weight_fit="mse").quant_scheme("int8-weights").weights
    assert changed is not None
    assert changed.fit == "mse"
    assert custom_scheme("float16", weight_fit="mse").weights is None
