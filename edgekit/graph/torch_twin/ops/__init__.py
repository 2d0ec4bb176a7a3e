"""Torch forms of the ONNX operators; importing this package fills the table."""

from edgekit.graph.torch_twin.ops import (
    activation as activation,
)
from edgekit.graph.torch_twin.ops import (
    arithmetic as arithmetic,
)
from edgekit.graph.torch_twin.ops import (
    concat as concat,
)
from edgekit.graph.torch_twin.ops import (
    convolution as convolution,
)
from edgekit.graph.torch_twin.ops import (
    depth_space as depth_space,
)
from edgekit.graph.torch_twin.ops import (
    linear as linear,
)
from edgekit.graph.torch_twin.ops import (
    normalization as normalization,
)
from edgekit.graph.torch_twin.ops import (
    padding as padding,
)
from edgekit.graph.torch_twin.ops import (
    pooling as pooling,
)
from edgekit.graph.torch_twin.ops import (
    quantization as quantization,
)
from edgekit.graph.torch_twin.ops import (
    recurrent as recurrent,
)
from edgekit.graph.torch_twin.ops import (
    reduction as reduction,
)
from edgekit.graph.torch_twin.ops import (
    resize as resize,
)
from edgekit.graph.torch_twin.ops import (
    shape as shape,
)
from edgekit.graph.torch_twin.ops import (
    slicing as slicing,
)
