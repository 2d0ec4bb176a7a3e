"""ONNX to MIL: one small function an operator, a table of them, and the walk over a graph."""
