"""Target tflite: LiteRT flatbuffers for phones and boards."""
