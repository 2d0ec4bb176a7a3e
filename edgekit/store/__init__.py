"""Content-addressed artifacts with provenance: what makes runs resume."""
