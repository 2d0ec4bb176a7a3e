"""Choosing the range that integers represent, one rule a file."""
