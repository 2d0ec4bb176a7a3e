"""Quantization-aware training of a torch twin."""
