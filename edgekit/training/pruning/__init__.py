"""Pruning: whole channels (structured), and single weights (unstructured)."""
