"""Proof that an integer .tflite file is the QDQ graph it was lowered from, tensor by tensor."""
