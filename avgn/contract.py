"""The graphs' contract: the names, order, shapes and types of what goes in and comes out, the same for every engine."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from avgn.config import Config
from avgn.errors import InputError

STAGES = ("glance", "select", "focus", "classify")  # what a decision runs
HEAVY = ("glance", "focus")  # where the work is: these alone decide which precision a variant has
GRAPHS = ("logmel", *STAGES)
LEAST_INT8 = 0.9  # of the work of each heavy graph of an int8 variant; what is left is attention, which stays in float

Dtype = Literal["float32", "float16", "int8", "uint8", "int32"]
_ZERO_POINTS = {"int8": (-128, 127), "uint8": (0, 255)}

# Inputs and outputs of each graph, in order; C, D, F, G, M, P, S, T, b, d, k as in `dimensions`.
_CONTRACT: dict[str, tuple[dict[str, str], dict[str, str]]] = {
    "logmel": ({"sound": "1 S"}, {"mel": "1 1 M F"}),
    "glance": (
        {"frame": "1 3 G G", "mel": "1 1 M F", "heard": "1 1"},
        {"visual": "1 d", "audio": "1 d", "centre": "1 2", "context": "1 d"},
    ),
    "select": (
        {"visual": "1 T d", "audio": "1 T d", "heard": "1 T", "seen": "1 T"},
        {"saliency": "1 T", "tokens": "1 2T d", "logits": "1 C"},
    ),
    "focus": ({"patch": "b 3 P P"}, {"local": "b D"}),
    "classify": (
        {
            "tokens": "1 2T d",
            "context": "1 k d",
            "local": "1 k D",
            "when": "1 k",
            "used": "1 k",
            "heard": "1 T",
            "seen": "1 T",
        },
        {"logits": "1 C"},
    ),
}
_INTEGERS = {"when": "int32"}  # every other tensor holds real numbers


@dataclass(frozen=True)
class TensorSpec:
    """One input or output. int8 and uint8 stand for (value - zero_point) * scale; the other types have neither."""

    name: str
    shape: tuple[int, ...]
    dtype: Dtype
    scale: float | None = None
    zero_point: int | None = None

    def __post_init__(self) -> None:
        quantised = self.dtype in _ZERO_POINTS
        if quantised != (self.scale is not None) or quantised != (self.zero_point is not None):
            raise ValueError(f"{self.name!r}: scale and zero_point go with int8 and uint8, and only with them")
        if self.scale is not None and not (math.isfinite(self.scale) and self.scale > 0):
            raise ValueError(f"{self.name!r}: scale must be a finite number above 0")
        low, high = _ZERO_POINTS.get(self.dtype, (0, 0))
        if self.zero_point is not None and not low <= self.zero_point <= high:
            raise ValueError(f"{self.name!r}: zero_point must lie in {low}..{high} for {self.dtype}")


def dimensions(config: Config, local: int, batch: int = 1) -> dict[str, int]:
    """The letters of the contract as numbers; `local` is D, the width of the focus net's feature, `batch` is b."""
    return {
        "b": batch,
        "T": config.snippets,
        "2T": 2 * config.snippets,
        "k": config.chosen,
        "C": config.classes,
        "G": config.frame.size,
        "P": config.patch.size,
        "M": config.sound.mels,
        "F": config.sound.frames,
        "S": config.sound.samples,
        "d": config.saliency.width,
        "D": local,
    }


def contract(
    config: Config, graph: str, local: int, batch: int = 1
) -> tuple[tuple[TensorSpec, ...], tuple[TensorSpec, ...]]:
    """Inputs and outputs of `graph` in order, float32 (`when`: int32).

    `local` is D, needed by focus and classify; `batch` is b, how many patches (1..k) one call of focus takes.
    """
    sizes = dimensions(config, local, batch)

    def specs(tensors: dict[str, str]) -> tuple[TensorSpec, ...]:
        return tuple(
            TensorSpec(name, tuple(sizes[dim] if dim in sizes else int(dim) for dim in dims.split()), _dtype(name))
            for name, dims in tensors.items()
        )

    inputs, outputs = _CONTRACT[graph]
    return specs(inputs), specs(outputs)


def local_width(tensors: Iterable[TensorSpec]) -> int:
    """D as a graph's tensors have it; 0 where there is no (valid) `local`."""
    shapes = [spec.shape for spec in tensors if spec.name == "local"]
    return max(0, shapes[0][-1]) if shapes and shapes[0] else 0


def patch_batch(tensors: Iterable[TensorSpec]) -> int:
    """b, the patches of one call, as a focus graph's tensors have it; 1 for other graphs."""
    shapes = [spec.shape for spec in tensors if spec.name == "patch"]
    return shapes[0][0] if shapes and shapes[0] else 1


def check_tensors(place: str, found: Sequence[TensorSpec], expected: Sequence[TensorSpec]) -> None:
    """Raise InputError, beginning with `place`, unless `found` are the tensors that the contract expects."""
    names = [spec.name for spec in expected]
    if [spec.name for spec in found] != names:
        raise InputError(f"{place}s are {', '.join(spec.name for spec in found)}; expected {', '.join(names)}.")
    for spec, wanted in zip(found, expected, strict=True):
        if spec.shape != wanted.shape:
            raise InputError(f"{place} {spec.name!r} has shape {spec.shape}; the config asks for {wanted.shape}.")
        if (spec.dtype == "int32") != (wanted.dtype == "int32"):
            raise InputError(f"{place} {spec.name!r} is {spec.dtype}; expected {wanted.dtype}.")


def _dtype(name: str) -> Dtype:
    return "int32" if name in _INTEGERS else "float32"
