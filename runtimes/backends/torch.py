"""PyTorch as an engine: eager or compiled modules behind the same contract, for parity, comparison and CUDA."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from runtimes.backends import Arrays
from runtimes.backends.loaded import joined


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

    def run(self, graph: str, inputs: Arrays) -> dict[str, NDArray[Any]]:
        """Outputs of `graph` as copies, by name; `inputs` in the contract's order."""
        return self.told(graph, self.asked(graph, [inputs])())

    def asked(self, graph: str, sets: Sequence[Arrays]) -> Callable[[], list[Any]]:
        """See `runtimes.backends.LoadedEngine`."""
        import torch

        call, _ = self._graphs[graph]
        ready = [tuple(torch.from_numpy(np.ascontiguousarray(value)) for value in inputs.values()) for inputs in sets]
        self._last[graph] = ready[-1]
        return torch.inference_mode()(lambda: [call(*tensors) for tensors in ready])

    def told(self, graph: str, found: Sequence[Any]) -> dict[str, NDArray[Any]]:
        """See `runtimes.backends.LoadedEngine`."""
        names = self._graphs[graph][1]
        return joined([dict(zip(names, (one.numpy() for one in outputs), strict=True)) for outputs in found])

    def bare(self, graph: str) -> Callable[[], object]:
        """The module's own call on the tensors of the last `run`."""
        import torch

        call, _ = self._graphs[graph]
        return torch.inference_mode()(lambda: call(*self._last[graph]))


class StackingTorchEngine(TorchEngine):
    """Runs several sets of inputs as one batch, which modules take whatever its size (exported programs do not)."""

    def run_each(self, graph: str, sets: Sequence[Arrays]) -> dict[str, NDArray[Any]]:
        """Outputs of `graph` for all sets of inputs, joined."""
        return self.run(graph, joined(sets)) if sets else {}
