"""What can be said of Apple devices without one: a latency, and ops off the Neural Engine.

Nothing here is measured, and nothing of it may stand where measured figures do.
"""

from __future__ import annotations

from edgekit.targets.coreml.estimate.departures import Departure, Source
from edgekit.targets.coreml.estimate.features import Features, features_of_graph
from edgekit.targets.coreml.estimate.latency import LatencyEstimate, estimate, valid_range
from edgekit.targets.coreml.estimate.neural_engine import leaves_neural_engine
from edgekit.targets.coreml.estimate.op_facts import OpFacts, TensorFacts

__all__ = [
    "Departure",
    "Features",
    "LatencyEstimate",
    "OpFacts",
    "Source",
    "TensorFacts",
    "estimate",
    "features_of_graph",
    "leaves_neural_engine",
    "valid_range",
]
