"""A differentiable torch form of a canonical graph, and the way back into the graph."""
