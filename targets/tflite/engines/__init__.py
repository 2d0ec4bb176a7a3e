"""Lowering engines other than edgekit's own."""
