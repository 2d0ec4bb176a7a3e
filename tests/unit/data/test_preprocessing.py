"""Preprocessing against torchvision's transforms, and its refusals."""

from __future__ import annotations

import math
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image as PillowImage
from torchvision.transforms import v2

from edgekit.core.metadata import Preprocessing
from edgekit.core.signature import TensorSpec
from edgekit.data.preprocessing import ImagePreprocessor, axis_order, resize
from edgekit.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
MODES = {
    "nearest": v2.InterpolationMode.NEAREST,
    "bilinear": v2.InterpolationMode.BILINEAR,
    "bicubic": v2.InterpolationMode.BICUBIC,
}


def image_of(height: int, width: int, *, gray: bool = False, seed: int = 0) -> Any:
    rng = np.random.default_rng(seed)
    shape = (height, width) if gray else (height, width, 3)
    return rng.integers(0, 256, shape, dtype=np.uint8)


def nchw(channels: int, height: int | str, width: int | str) -> TensorSpec:
    return TensorSpec(name="image", shape=("batch", channels, height, width))


def torchvision_tensor(image: Any, *steps: Any) -> npt.NDArray[np.float32]:
    to_float = [v2.PILToTensor(), v2.ToDtype(torch.float32, scale=True)]
    normalize = v2.Normalize(IMAGENET_MEAN, IMAGENET_STD)
    composed = v2.Compose([*steps, *to_float, normalize])
    result: npt.NDArray[np.float32] = composed(PillowImage.fromarray(image)).numpy()
    return result


@pytest.mark.parametrize("interpolation", ["nearest", "bilinear", "bicubic"])
@pytest.mark.parametrize("size", [(24, 24), (40, 17), (64, 96)])
def test_stretch_equals_torchvision(
    interpolation: Literal["nearest", "bilinear", "bicubic"], size: tuple[int, int]
) -> None:
    image = image_of(37, 53)
    declared = Preprocessing(
        size=size, interpolation=interpolation, mean=IMAGENET_MEAN, std=IMAGENET_STD
    )
    got = ImagePreprocessor(declared, nchw(3, *size))([image])
    expected = torchvision_tensor(image, v2.Resize(size, MODES[interpolation]))
    np.testing.assert_allclose(got[0], expected, atol=2e-6)


@pytest.mark.parametrize("crop_fraction", [1.0, 0.875, 0.95, 0.9])
@pytest.mark.parametrize("shape", [(90, 61), (61, 90), (64, 64), (20, 31), (33, 100)])
def test_crop_of_a_square_equals_torchvision(crop_fraction: float, shape: tuple[int, int]) -> None:
    image = image_of(*shape)
    declared = Preprocessing(
        size=(32, 32),
        resize="crop",
        crop_fraction=crop_fraction,
        interpolation="bicubic",
        mean=IMAGENET_MEAN,
        std=IMAGENET_STD,
    )
    got = ImagePreprocessor(declared, nchw(3, 32, 32))([image])
    expected = torchvision_tensor(
        image,
        v2.Resize(math.floor(32 / crop_fraction), v2.InterpolationMode.BICUBIC),
        v2.CenterCrop(32),
    )
    np.testing.assert_allclose(got[0], expected, atol=2e-6)


def test_gray_equals_torchvision_and_bgr_is_rgb_reversed() -> None:
    image = image_of(16, 16)
    gray = ImagePreprocessor(Preprocessing(channels="gray"), nchw(1, 16, 16))([image])
    steps = v2.Compose([v2.Grayscale(), v2.PILToTensor()])
    expected = steps(PillowImage.fromarray(image)).numpy().astype(np.float64) / 255
    np.testing.assert_allclose(gray[0], expected, atol=1e-7)

    rgb = ImagePreprocessor(Preprocessing(mean=(0.1, 0.2, 0.3), std=(1, 2, 3)), nchw(3, 16, 16))(
        [image]
    )
    bgr = ImagePreprocessor(
        Preprocessing(channels="bgr", mean=(0.3, 0.2, 0.1), std=(3, 2, 1)), nchw(3, 16, 16)
    )([image])
    np.testing.assert_array_equal(bgr[:, ::-1], rgb)


def test_a_gray_image_is_replicated_for_a_colour_model() -> None:
    image = image_of(5, 7, gray=True)
    got = ImagePreprocessor(Preprocessing(), nchw(3, 5, 7))([image])
    for channel in range(3):
        np.testing.assert_allclose(got[0, channel], image / 255, atol=1e-7)


def test_the_formula_is_scale_then_mean_then_std() -> None:
    image = np.array([[0, 10], [100, 255]], dtype=np.uint8)
    declared = Preprocessing(channels="gray", scale=2.0, mean=(100.0,), std=(4.0,))
    got = ImagePreprocessor(declared, nchw(1, 2, 2))([image])
    np.testing.assert_array_equal(got[0, 0], [[-25, -20], [25, 102.5]])


@pytest.mark.parametrize(
    ("shape", "expected"),
    [
        (("batch", 3, 8, 8), "NCHW"),
        (("batch", 8, 8, 3), "NHWC"),
        ((1, "height", "width", 3), "NHWC"),
        ((1, 3, "height", "width"), "NCHW"),
        ((1, "channels", "height", "width"), "NCHW"),
        (("batch", 192), "flat"),
    ],
)
def test_axis_order_is_read_from_the_shape(shape: tuple[int | str, ...], expected: str) -> None:
    assert axis_order(TensorSpec(name="x", shape=shape), 3) == expected


def test_every_axis_order_holds_the_same_pixels() -> None:
    images = [image_of(4, 6, seed=seed) for seed in range(3)]

    def feed(*shape: int | str) -> npt.NDArray[Any]:
        return ImagePreprocessor(Preprocessing(), TensorSpec(name="x", shape=shape))(images)

    planes = feed("n", 3, 4, 6)
    assert planes.shape == (3, 3, 4, 6)
    np.testing.assert_array_equal(feed("n", 4, 6, 3), planes.transpose(0, 2, 3, 1))
    np.testing.assert_array_equal(feed("n", 72), planes.reshape(3, 72))
    gray = ImagePreprocessor(Preprocessing(channels="gray"), TensorSpec(name="x", shape=(1, 4, 6)))
    assert gray(images).shape == (3, 4, 6)


def test_without_declaration_pixels_are_fed_raw() -> None:
    gray, colour = image_of(8, 8, gray=True), image_of(8, 8)
    np.testing.assert_array_equal(ImagePreprocessor(None, nchw(1, 8, 8))([gray])[0, 0], gray)
    fed = ImagePreprocessor(None, nchw(3, 8, 8))([colour])[0]
    np.testing.assert_array_equal(fed, colour.transpose(2, 0, 1))


def test_whole_number_inputs_take_pixels_as_they_are() -> None:
    image = image_of(8, 8)
    spec = TensorSpec(name="image", shape=(1, 8, 8, 3), dtype="uint8")
    fed = ImagePreprocessor(Preprocessing(scale=1.0), spec)([image])
    assert fed.dtype == np.uint8
    np.testing.assert_array_equal(fed[0], image)
    with pytest.raises(InputError, match=r"takes whole numbers 0\.\.255, but the declared"):
        ImagePreprocessor(Preprocessing(), spec)([image])


def test_a_wrong_size_names_expected_and_got() -> None:
    with pytest.raises(
        InputError, match=r"expects samples of \[3, 32, 32\].*is \[3, 8, 9\].*size"
    ):
        ImagePreprocessor(Preprocessing(), nchw(3, 32, 32))([image_of(8, 9)])
    with pytest.raises(InputError, match="The model declares no preprocessing"):
        ImagePreprocessor(None, nchw(3, 32, 32))([image_of(8, 9)])


@pytest.mark.parametrize(
    "shape",
    [(1, 4, 8, 8), (1, 3, 8, 8, 8), (3,), (1, 8, 8)],
    ids=lambda shape: f"rank{len(shape)}",
)
def test_an_input_that_takes_no_images_is_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(InputError, match=r"takes no image of 3 channels \(rgb or bgr\)"):
        ImagePreprocessor(Preprocessing(), TensorSpec(name="x", shape=shape))


def test_an_input_of_strings_is_refused() -> None:
    with pytest.raises(InputError, match="takes no images"):
        ImagePreprocessor(None, TensorSpec(name="x", shape=(1, 3, 8, 8), dtype="string"))


def test_images_of_different_sizes_need_a_declared_size() -> None:
    images = [image_of(8, 8), image_of(9, 8)]
    with pytest.raises(InputError, match=r"different sizes \(8x8, 9x8\).*preprocessing\.size"):
        ImagePreprocessor(Preprocessing(), nchw(3, "h", "w"))(images)
    sized = ImagePreprocessor(Preprocessing(size=(6, 6)), nchw(3, 6, 6))
    assert sized(images).shape == (2, 3, 6, 6)


@pytest.mark.parametrize("bad", [np.zeros((4, 4, 4), np.uint8), np.zeros((4, 4), np.float32)])
def test_an_array_that_is_no_8_bit_image_is_refused(bad: Any) -> None:
    with pytest.raises(InputError, match="An image must be uint8"):
        ImagePreprocessor(Preprocessing(), nchw(3, 4, 4))([bad])


@settings(max_examples=80, deadline=None)
@given(
    shape=st.tuples(st.integers(1, 50), st.integers(1, 50)),
    size=st.tuples(st.integers(1, 40), st.integers(1, 40)),
    crop_fraction=st.floats(0.3, 1.0),
    way=st.sampled_from(["stretch", "crop"]),
)
def test_resizing_always_gives_the_declared_size(
    shape: tuple[int, int],
    size: tuple[int, int],
    crop_fraction: float,
    way: Literal["stretch", "crop"],
) -> None:
    declared = Preprocessing(size=size, resize=way, crop_fraction=crop_fraction)
    image = np.full((*shape, 3), 77, dtype=np.uint8)
    resized = resize(image, declared)
    assert resized.shape == (*size, 3)
    assert (resized == 77).all()
