"""Target onnxruntime: the canonical graph itself, run and measured."""
