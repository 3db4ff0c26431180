"""PyTorch as an engine: eager or compiled modules behind the same contract, for parity, comparison and CUDA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray


class TorchEngine:
    """Runs one callable a graph on named numpy inputs; `graphs` maps a name to (callable, output names)."""

    backend = "torch"

    def __init__(
        self, graphs: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]], precision: str = "fp32"
    ) -> None:
        self.precision = precision
        self._graphs = dict(graphs)

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of `graph` as copies, by name; `inputs` in the contract's order."""
        import torch

        call, names = self._graphs[graph]
        with torch.inference_mode():
            outputs = call(*(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs.values()))
        return {name: output.numpy().copy() for name, output in zip(names, outputs, strict=True)}


class StackingTorchEngine(TorchEngine):
    """Runs several sets of inputs as one batch, which modules take whatever its size (exported programs do not)."""

    def run_each(self, graph: str, sets: Sequence[Mapping[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
        """Outputs of `graph` for each set of inputs, all of the same size."""
        if not sets:
            return []
        stacked = {name: np.concatenate([inputs[name] for inputs in sets]) for name in sets[0]}
        parts = {name: np.split(value, len(sets)) for name, value in self.run(graph, stacked).items()}
        return [{name: parts[name][index] for name in parts} for index in range(len(sets))]
