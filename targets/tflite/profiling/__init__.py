"""Time of single operators in LiteRT, by its own profiler."""
