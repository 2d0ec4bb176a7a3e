"""The steps of a pipeline, one a file."""
