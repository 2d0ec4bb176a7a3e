"""Torch forms of the ONNX operators; importing this package fills the table."""

from edgekit.graph.torch_twin.ops import (
    activation as activation,
    arithmetic as arithmetic,
    concat as concat,
    convolution as convolution,
    depth_space as depth_space,
    linear as linear,
    normalization as normalization,
    padding as padding,
    pooling as pooling,
    quantization as quantization,
    recurrent as recurrent,
    reduction as reduction,
    resize as resize,
    shape as shape,
    slicing as slicing,
)
