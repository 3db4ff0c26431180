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
        self,
        graphs: Mapping[str, tuple[Callable[..., Any], tuple[str, ...]]],
        precision: str = "fp32",
        backend: str = "torch",
    ) -> None:
        self.precision, self.backend = precision, backend
        self._graphs = dict(graphs)
        self._last: dict[str, tuple[Any, ...]] = {}

    @property
    def threads(self) -> int:
        """How many threads PyTorch computes with, in the whole process."""
        import torch

        return torch.get_num_threads()

    def run(self, graph: str, inputs: Mapping[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        """Outputs of `graph` as copies, by name; `inputs` in the contract's order."""
        import torch

        call, names = self._graphs[graph]
        self._last[graph] = tuple(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs.values())
        with torch.inference_mode():
            outputs = call(*self._last[graph])
        return {name: output.numpy().copy() for name, output in zip(names, outputs, strict=True)}

    def bare(self, graph: str) -> Callable[[], object]:
        """The module's own call on the tensors of the last `run`."""
        import torch

        call, _ = self._graphs[graph]
        return torch.inference_mode()(lambda: call(*self._last[graph]))


class StackingTorchEngine(TorchEngine):
    """Runs several sets of inputs as one batch, which modules take whatever its size (exported programs do not)."""

    def run_each(self, graph: str, sets: Sequence[Mapping[str, NDArray[Any]]]) -> list[dict[str, NDArray[Any]]]:
        """Outputs of `graph` for each set of inputs, all of the same size."""
        if not sets:
            return []
        stacked = {name: np.concatenate([inputs[name] for inputs in sets]) for name in sets[0]}
        parts = {name: np.split(value, len(sets)) for name, value in self.run(graph, stacked).items()}
        return [{name: parts[name][index] for name in parts} for index in range(len(sets))]
