"""The description of a Core ML model: features, states, texts.

Source: ``Model.proto`` and ``FeatureTypes.proto`` of coremltools (BSD-3-Clause).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from edgekit.targets.coreml.package.wire import (
    DamageError,
    entries,
    fields,
    float32,
    float64,
    message,
    number,
    packed_varints,
    signed,
    text,
)

_ARRAY_TYPES = {
    65568: "float32", 65600: "float64", 131104: "int32", 131080: "int8", 65552: "float16",
}  # fmt: skip
_COLORS = {10: "grayscale", 20: "rgb", 30: "bgr", 40: "grayscale_float16"}
type Range = tuple[int, int | None]


@dataclass(frozen=True, slots=True)
class ImageType:
    """An image; sizes in pixels."""

    height: int
    width: int
    layout: str


@dataclass(frozen=True, slots=True)
class Feature:
    """One input, output or state.

    Attributes:
        name: Its name.
        kind: ``"array"``, ``"image"``, ``"dictionary"``, ``"state"``, ``"text"``, ``"int64"``,
            ``"double"`` or ``"sequence"``.
        dtype: Element type of an array or state; empty for other kinds.
        shape: Default shape.
        ranges: Range of each size where they are open; empty otherwise. None is no upper limit.
        shapes: The shapes that are allowed where they are enumerated.
        image: For images.
        optional: Whether it can be left out.
        default: What each element is where an optional array is left out; None where the
            package does not say.
    """

    name: str
    kind: str
    dtype: str = ""
    shape: tuple[int, ...] = ()
    ranges: tuple[Range, ...] = ()
    shapes: tuple[tuple[int, ...], ...] = ()
    image: ImageType | None = None
    optional: bool = False
    default: float | None = None

    def open_shape(self) -> tuple[int | None, ...]:
        """Sizes, None where more than one is allowed."""
        if self.shapes:
            return tuple(
                sizes[0] if len(set(sizes)) == 1 else None
                for sizes in zip(*self.shapes, strict=True)
            )
        if self.ranges:
            return tuple(low if low == high else None for low, high in self.ranges)
        if self.image is not None:
            channels = 1 if self.image.layout.startswith("gray") else 3
            return (1, channels, self.image.height, self.image.width)
        return self.shape


@dataclass(frozen=True, slots=True)
class Description:
    """What a model says about itself.

    Attributes:
        inputs: Inputs.
        outputs: Outputs.
        states: States.
        class_name: Output with the best class; empty where the model is no classifier.
        probabilities: Output with the classes' probabilities.
        summary: Short description.
        version: Version of the model.
        author: Author.
        license: Licence.
        entries: User-defined metadata.
    """

    inputs: tuple[Feature, ...]
    outputs: tuple[Feature, ...]
    states: tuple[Feature, ...] = ()
    class_name: str = ""
    probabilities: str = ""
    summary: str = ""
    version: str = ""
    author: str = ""
    license: str = ""
    entries: Mapping[str, str] = field(default_factory=dict)


def parse_description(data: memoryview, function: str) -> Description:
    """Reads a model description.

    Args:
        data: The message.
        function: Function whose features are wanted where the model has several.

    Raises:
        DamageError: If the bytes are none.
    """
    groups: dict[int, list[Feature]] = {1: [], 10: [], 13: []}
    names = {11: "", 12: ""}
    texts: dict[str, str] = {}
    defined: dict[str, str] = {}
    for index, _, value in fields(data):
        if index in groups:
            groups[index].append(_feature(message(value)))
        elif index in names:
            names[index] = text(value)
        elif index == 20:
            _read_function(message(value), function, groups, names)
        elif index == 100:
            texts, defined = _texts(message(value))
    return Description(
        tuple(groups[1]), tuple(groups[10]), tuple(groups[13]), names[11], names[12],
        texts.get("summary", ""), texts.get("version", ""), texts.get("author", ""),
        texts.get("license", ""), defined,
    )  # fmt: skip


def _read_function(
    data: memoryview, wanted: str, groups: dict[int, list[Feature]], names: dict[int, str]
) -> None:
    name = ""
    found: dict[int, list[Feature]] = {1: [], 10: [], 13: []}
    labels = {11: "", 12: ""}
    for index, _, value in fields(data):
        if index == 1:
            name = text(value)
        elif index in (2, 3, 6):
            found[{2: 1, 3: 10, 6: 13}[index]].append(_feature(message(value)))
        elif index in (4, 5):
            labels[{4: 11, 5: 12}[index]] = text(value)
    if name == wanted:
        groups.update(found)
        names.update(labels)


def _texts(data: memoryview) -> tuple[dict[str, str], dict[str, str]]:
    labels = {1: "summary", 2: "version", 3: "author", 4: "license"}
    found, defined = {}, {}
    for index, _, value in fields(data):
        if index in labels:
            found[labels[index]] = text(value)
        elif index == 100:
            key, content = entries(message(value))
            defined[key] = text(content)
    return found, defined


def _feature(data: memoryview) -> Feature:
    name, kind = "", memoryview(b"")
    for index, _, value in fields(data):
        if index == 1:
            name = text(value)
        elif index == 3:
            kind = message(value)
    feature = Feature(name, "")
    optional = False
    for index, _, value in fields(kind):
        if index == 1000:
            optional = bool(number(value))
        else:
            feature = _of_kind(name, index, message(value))
    if not feature.kind:
        raise DamageError(f"feature {name!r} has no type")
    if not optional:
        return feature
    return replace(feature, optional=True)


_PLAIN = {1: "int64", 2: "double", 3: "text", 6: "dictionary", 7: "sequence"}


def _of_kind(name: str, index: int, data: memoryview) -> Feature:
    if index == 5:
        return _array(name, data)
    if index == 4:
        return _image(name, data)
    if index == 8:
        for inner, _, value in fields(data):
            if inner == 1:
                array = _array(name, message(value))
                return Feature(name, "state", array.dtype, array.shape)
        raise DamageError(f"state {name!r} wraps nothing")
    if index in _PLAIN:
        return Feature(name, _PLAIN[index])
    raise DamageError(f"feature {name!r} has a type that is not known ({index})")


def _sizes(data: memoryview) -> tuple[int, ...]:
    found: list[int] = []
    for index, kind, value in fields(data):
        if index == 1:
            found += packed_varints(kind, value)
    return tuple(found)


def _array(name: str, data: memoryview) -> Feature:
    shape: list[int] = []
    dtype = ""
    shapes: list[tuple[int, ...]] = []
    ranges: list[Range] = []
    default: float | None = None
    for index, kind, value in fields(data):
        if index == 1:
            shape += packed_varints(kind, value)
        elif index == 2:
            code = number(value)
            if code not in _ARRAY_TYPES:
                raise DamageError(
                    f"feature {name!r} has an element type that is not known ({code})"
                )
            dtype = _ARRAY_TYPES[code]
        elif index == 21:
            shapes += [_sizes(message(v)) for i, _, v in fields(message(value)) if i == 1]
        elif index == 31:
            ranges += [_range(message(v)) for i, _, v in fields(message(value)) if i == 1]
        elif index == 41:
            default = signed(value)
        elif index == 51:
            default = float32(value)
        elif index == 61:
            default = float64(value)
    if len({len(sizes) for sizes in shapes}) > 1:
        raise DamageError(f"feature {name!r} has enumerated shapes of different ranks")
    return Feature(
        name, "array", dtype, tuple(shape), tuple(ranges), tuple(shapes), default=default
    )


def _range(data: memoryview) -> Range:
    low, high = 0, -1
    for index, _, value in fields(data):
        if index == 1:
            low = number(value)
        elif index == 2:
            high = signed(value)
    return low, None if high < 0 else high


def _image(name: str, data: memoryview) -> Feature:
    found = {1: 0, 2: 0, 3: 0}
    for index, _, value in fields(data):
        if index in found:
            found[index] = number(value)
    if found[3] not in _COLORS:
        raise DamageError(f"image {name!r} has a color space that is not known ({found[3]})")
    image = ImageType(height=found[2], width=found[1], layout=_COLORS[found[3]])
    return Feature(name, "image", image=image)
