"""What a model file or folder on disk is; see `edgekit.pipeline.model_files`."""

from __future__ import annotations

from edgekit.pipeline.model_files import inspect_file, require_model_file, target_of

__all__ = ["inspect_file", "require_model_file", "target_of"]
