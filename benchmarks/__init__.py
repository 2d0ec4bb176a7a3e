"""Measurements of edgekit against its peers; each script writes a table below results/."""
