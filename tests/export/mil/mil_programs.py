"""Programs of one operation, built with coremltools and computed by the evaluator, held against a formula in numpy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.mil.program import Program, prepare
from export.mil.tools import coremltools, quiet

Arrays = dict[str, NDArray[Any]]
ct = coremltools()
with quiet():
    from coremltools.converters.mil.mil import Builder, Function, Placeholder, types
    from coremltools.converters.mil.mil import Program as MilProgram

MB = Builder
TYPES = {"fp16": np.float16, "fp32": np.float32}
TOLERANCE = {"fp16": 2e-3, "fp32": 2e-6}  # of the largest value expected; fp16 keeps 11 bits


@dataclass(frozen=True, eq=False)
class Case:
    """An operation on `inputs`, what it should give, and the first iOS that has it.

    `build(x, ...)` takes the inputs as variables, by name, and `real`, the numpy type under test for constants;
    `truth` takes the same as float64 arrays, in order, and gives one array, or a list.
    """

    op: str
    build: Callable[..., Any]
    truth: Callable[..., Any]
    inputs: Arrays
    target: str = "iOS16"
    outputs: str | None = None  # MIL type of the outputs, where it is not that of the inputs
    name: str = ""
    types: tuple[str, ...] = field(default=("fp32", "fp16"))

    @property
    def title(self) -> str:
        return f"{self.op} {self.name}".strip()


def build_program(build: Callable[..., Any], inputs: Arrays, target: str = "iOS16") -> MilProgram:
    """A coremltools program with the inputs' shapes and types."""
    placeholders = {
        name: Placeholder(sym_shape=value.shape, dtype=types.numpy_type_to_builtin_type(value.dtype), name=name)
        for name, value in inputs.items()
    }
    with quiet(), Function(placeholders, opset_version=getattr(ct.target, target)) as function:
        made = build(**function.inputs)
        outputs = list(made) if isinstance(made, list | tuple) else [made]
        function.set_outputs(outputs)
    program = MilProgram()
    program.add_function("main", function)
    return program


def evaluator(build: Callable[..., Any], inputs: Arrays, target: str = "iOS16") -> Program:
    """The same, ready to run."""
    return prepare(build_program(build, inputs, target))


def typed(inputs: Arrays, real: str) -> Arrays:
    """Real inputs in the type under test; others as they are."""
    return {name: value.astype(TYPES[real]) if value.dtype.kind == "f" else value for name, value in inputs.items()}


def check(case: Case, real: str) -> None:
    """Evaluate and compare with the truth on the very same (rounded) inputs."""
    inputs = typed(case.inputs, real)
    program = evaluator(lambda **variables: case.build(**variables, real=TYPES[real]), inputs, case.target)
    assert case.op in {operation.op_type for operation in program.mil.functions["main"].operations}
    found = list(program.run(inputs).values())
    exact = {name: value.astype(np.float64) if value.dtype.kind == "f" else value for name, value in inputs.items()}
    expected = case.truth(*exact.values())
    expected = expected if isinstance(expected, list) else [expected]
    assert len(found) == len(expected)
    for value, wanted in zip(found, expected, strict=True):
        wanted = np.asarray(wanted)
        assert value.shape == wanted.shape
        assert (value.dtype.kind == "f") == (wanted.dtype.kind == "f")
        if wanted.dtype.kind == "f":
            size = max(float(np.abs(wanted).max()), 1e-3)
            assert np.abs(value - wanted).max() <= TOLERANCE[real] * size, np.abs(value - wanted).max() / size
            assert (value == value.astype(TYPES[real])).all()  # rounded to the declared type
        else:
            assert (value == wanted).all()


def normal(*shape: int, seed: int = 0, scale: float = 1.0) -> NDArray[np.float64]:
    """Normal random numbers, such that fp16 holds them exactly."""
    return np.random.default_rng(seed).normal(0, scale, shape).astype(np.float16).astype(np.float64)
