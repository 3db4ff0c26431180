"""A saved Core ML program, loaded and computed operation by operation."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from avgn.errors import InputError, ProofError
from export.mil.table import OPS
from export.mil.tools import coremltools, quiet
from export.mil.values import DTYPES, UnsupportedError

WEIGHTS = Path("Data") / "com.apple.CoreML" / "weights"


@dataclass(frozen=True)
class Declared:
    """What the program says of a value: its name, shape and MIL type."""

    name: str
    shape: tuple[int, ...]
    dtype: str

    def rounded(self, value: Tensor, place: str) -> Tensor:
        """`value` as the declared type holds it. ProofError unless it is of the declared shape and kind."""
        if tuple(value.shape) != self.shape:
            raise ProofError(f"{place}: {self.name} has shape {list(value.shape)}, declared {list(self.shape)}.")
        target = DTYPES[self.dtype]
        kinds = (_kind(value.dtype), _kind(target))
        if kinds[0] != kinds[1]:
            raise ProofError(f"{place}: {self.name} holds {kinds[0]} numbers, declared {self.dtype}.")
        return value.to(target).float() if target.is_floating_point else value.to(target)


@dataclass(frozen=True, eq=False)
class Step:
    """One operation: constants are at hand, the names of other inputs are looked up."""

    place: str
    call: Callable[..., Tensor | list[Tensor]]
    constants: dict[str, Any]
    names: dict[str, str | tuple[str, ...]]
    outputs: tuple[Declared, ...]

    def run(self, values: Mapping[str, Any]) -> dict[str, Tensor]:
        """Outputs by name, rounded and checked. Errors name the operation."""
        found = {
            key: values[name] if isinstance(name, str) else [values[one] for one in name]
            for key, name in self.names.items()
        }
        try:
            made = self.call(**self.constants, **found)
        except UnsupportedError as fault:
            raise UnsupportedError(f"{self.place}: {fault}") from fault
        except (TypeError, ValueError, RuntimeError, IndexError) as fault:
            raise ProofError(f"{self.place} cannot be computed ({str(fault).splitlines()[0]}).") from fault
        results = made if isinstance(made, list) else [made]
        return {spec.name: spec.rounded(value, self.place) for spec, value in zip(self.outputs, results, strict=True)}


@dataclass(frozen=True, eq=False)
class Program:
    """A loaded program.

    `mil` is coremltools' view of it, for inspection. `images` are the inputs that Core ML fills from a picture, with
    its order of colours: "RGB" or "BGR".
    """

    inputs: tuple[Declared, ...]
    outputs: tuple[str, ...]
    steps: tuple[Step, ...]
    constants: dict[str, Any]
    mil: Any
    images: Mapping[str, str] = field(default_factory=dict)

    def run(self, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs by name: real numbers as float32. InputError for inputs that are not the program's."""
        if set(inputs) != {spec.name for spec in self.inputs}:
            names = ", ".join(spec.name for spec in self.inputs)
            raise InputError(f"inputs are {', '.join(inputs) or 'none'}; the program expects {names}.")
        values = dict(self.constants)
        for spec in self.inputs:
            given = np.ascontiguousarray(inputs[spec.name])
            if given.shape != spec.shape or _kind(torch.from_numpy(given).dtype) != _kind(DTYPES[spec.dtype]):
                found = f"{given.dtype} {list(given.shape)}"
                raise InputError(f"{spec.name} must be {spec.dtype} {list(spec.shape)}, found {found}.")
            values[spec.name] = spec.rounded(torch.from_numpy(given), "input")
        with torch.inference_mode():
            for step in self.steps:
                values.update(step.run(values))
        return {name: values[name].numpy().copy() for name in self.outputs}


def load(package: Path) -> Program:
    """Read the `.mlpackage` folder `package`.

    Raises InputError for what is not one, UnsupportedError for an operation that is not in the table.
    """
    spec, mil = read(package)
    return replace(prepare(mil), images=_images(spec))


def read(package: Path) -> tuple[Any, Any]:
    """The `.mlpackage` folder `package` as its protobuf and as a coremltools program. InputError for anything else."""
    ct = coremltools("reading a Core ML program")
    from coremltools.converters.mil.frontend.milproto.load import load as from_proto

    try:
        with quiet():
            spec = ct.utils.load_spec(str(package))
            version = spec.specificationVersion
            mil = from_proto(spec, specification_version=version, file_weights_dir=str(package / WEIGHTS))
    except Exception as fault:  # whatever a damaged protobuf makes the loader raise
        raise InputError(f"{package}: cannot be read as a Core ML program ({_first_line(fault)}).") from fault
    return spec, mil


def prepare(mil: Any) -> Program:
    """A coremltools program made ready to run: constants as tensors, compressed weights unpacked."""
    function = mil.functions["main"]
    constants: dict[str, Any] = {}
    steps = []
    for operation in function.operations:
        place = f"MIL {operation.op_type} {operation.name!r}"
        if operation.op_type == "const":
            constants[operation.outputs[0].name] = constant(operation.outputs[0].val)
            continue
        if operation.op_type not in OPS:
            raise UnsupportedError(f"{place}: the MIL evaluator has no such operation; add it to export/mil/.")
        step = _step(operation, place, constants)
        if operation.op_type.startswith("constexpr_"):
            constants.update(step.run({}))
        else:
            steps.append(step)
    inputs = tuple(declared(name, var) for name, var in function.inputs.items())
    return Program(inputs, tuple(var.name for var in function.outputs), tuple(steps), constants, mil)


def constant(value: Any) -> Any:
    """A constant as the operations take it: numbers, strings and short lists plain, everything else a tensor."""
    if isinstance(value, str):
        return value
    array = np.asarray(value)
    if array.dtype.kind in "US":
        return str(array)
    if array.dtype in (np.int32, np.int64, np.bool_) and array.ndim <= 1:
        return array.item() if array.ndim == 0 else tuple(array.tolist())
    if array.dtype.kind == "f":
        return float(array) if array.ndim == 0 else torch.from_numpy(array.astype(np.float32))
    return torch.from_numpy(array.astype(np.int32 if array.dtype == np.uint16 else array.dtype))


def declared(name: str, var: Any) -> Declared:
    """Name, shape and type of a coremltools variable. UnsupportedError unless all are fixed and known."""
    from coremltools.converters.mil.mil import types

    dtype = types.builtin_to_string(var.dtype)
    shape = tuple(var.shape or ())
    if dtype not in DTYPES or not all(isinstance(size, int | np.integer) for size in shape):
        raise UnsupportedError(f"{name}: {dtype} {list(shape)} is not known to the MIL evaluator.")
    return Declared(name, tuple(int(size) for size in shape), dtype)


def _step(operation: Any, place: str, constants: Mapping[str, Any]) -> Step:
    fixed: dict[str, Any] = {}
    names: dict[str, str | tuple[str, ...]] = {}
    for key, var in operation.inputs.items():
        if isinstance(var, list | tuple):
            names[key] = tuple(item.name for item in var)
        elif var is not None and var.name in constants:
            fixed[key] = constants[var.name]
        elif var is not None:
            names[key] = var.name
    outputs = tuple(declared(var.name, var) for var in operation.outputs)
    return Step(place, OPS[operation.op_type], fixed, names, outputs)


def _images(spec: Any) -> dict[str, str]:
    """Colour order of the inputs that are pictures."""
    orders = {}
    for feature in spec.description.input:
        if feature.type.WhichOneof("Type") == "imageType":
            picture = feature.type.imageType
            orders[feature.name] = picture.ColorSpace.Name(picture.colorSpace)
    return orders


def _kind(dtype: torch.dtype) -> str:
    if dtype == torch.bool:
        return "logical"
    return "real" if dtype.is_floating_point else "whole"


def _first_line(fault: Exception) -> str:
    return (str(fault).splitlines() or [""])[0] or type(fault).__name__
