"""Charts of the report as Vega-Lite specifications: data and marks, no code."""
