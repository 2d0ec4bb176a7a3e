"""Data sets, preprocessing and what is computed from them."""
