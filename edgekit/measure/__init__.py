"""Latency, memory and output-difference measurements shared by all targets."""
