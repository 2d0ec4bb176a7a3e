"""Quantized graphs: where the QDQ pairs stand, which parameters they have, and why.

`edgekit.quantization.placement` decides, `edgekit.quantization.insertion` edits the graph,
`edgekit.quantization.calibration` measures, and `edgekit.quantization.ptq` ties them together.
"""
