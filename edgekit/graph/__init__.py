"""Work on ONNX graphs: loading, canonical passes, inspection, reference execution."""
