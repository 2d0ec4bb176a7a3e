"""Saved packages of small MIL programs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from edgekit.targets.coreml.saving import write_package
from edgekit.targets.coreml.toolchain import coremltools as ct
from edgekit.targets.coreml.toolchain import mb, quietly

type Array = Any
type Body = Callable[..., Any]


def build(
    body: Body,
    inputs: Mapping[str, tuple[int, ...]],
    path: Path,
    *,
    target: str = "iOS18",
    dtypes: Mapping[str, str] | None = None,
    pipeline: Any = None,
    precision: str = "FLOAT32",
) -> Path:
    """Writes the package of a program.

    Args:
        body: Takes the inputs as variables and gives one or several.
        inputs: Shape by name.
        path: Package to write.
        target: Deployment target.
        dtypes: MIL element type by input; fp32 by default.
        pipeline: coremltools' passes; none by default, so that the operator under test stays.
        precision: Of coremltools.
    """
    from coremltools.converters.mil.mil import Function, Program, types

    named = {"fp32": types.fp32, "int32": types.int32, "fp16": types.fp16}
    placeholders = {
        name: mb.placeholder(shape=shape, dtype=named[(dtypes or {}).get(name, "fp32")])
        for name, shape in inputs.items()
    }
    with quietly():
        program = Program()
        with Function(placeholders, opset_version=getattr(ct.target, target)) as function:
            made = body(*(function.inputs[name] for name in inputs))
            function.set_outputs(list(made) if isinstance(made, list | tuple) else [made])
        program.add_function("main", function)
        model = ct.convert(
            program,
            source="milinternal",
            convert_to="mlprogram",
            minimum_deployment_target=getattr(ct.target, target),
            compute_precision=getattr(ct.precision, precision),
            pass_pipeline=pipeline or ct.PassPipeline.EMPTY,
            skip_model_load=True,
        )
    folder = Path(model.weights_dir) if model.weights_dir else None
    weights = folder / "weight.bin" if folder and (folder / "weight.bin").is_file() else None
    write_package(path, model.get_spec().SerializeToString(), weights)
    shutil.rmtree(model.package_path, ignore_errors=True)
    return path


def random(shape: tuple[int, ...], seed: int = 0) -> Array:
    """Standard normal float32."""
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)
