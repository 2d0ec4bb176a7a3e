"""Rewrites of the canonical graph, one a file."""
