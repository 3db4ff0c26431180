"""PyTorch itself as engines, eager and compiled, on the run a bundle was made from: what `avgn bench` compares with."""

from __future__ import annotations

from pathlib import Path

import torch

from avgn.bundle import Bundle
from avgn.contract import patch_batch
from avgn.errors import UsageError
from avgn.network.checkpoint import load_run, read_run
from export.common import eager_engine
from export.graphs import Graph, graphs
from runtimes.backends.torch import TorchEngine

COMPILED = "torch_compile"


def torch_engines(folder: Path, bundle: Bundle, threads: int | None = None) -> tuple[list[TorchEngine], dict[str, str]]:
    """Eager and torch.compile on the graphs of the run in `folder`; and which of them could not be run, with why.

    `threads` are set for PyTorch in the whole process. Raises UsageError for another run than the bundle's.
    """
    run = read_run(folder).run
    if run != bundle.manifest.run:
        raise UsageError(f"{folder}: is run {run}; {bundle.path} was made from run {bundle.manifest.run}: name it.")
    model, _ = load_run(folder)
    if threads is not None:
        torch.set_num_threads(threads)
    focus = next((record for record in bundle.manifest.graphs if record.graph == "focus"), None)
    table = graphs(model, patch_batch(focus.inputs) if focus else 1)
    engines = [eager_engine(table)]
    try:
        engines.append(compiled_engine(table))
    except Exception as fault:  # no C++ compiler, no room for its cache: whatever Inductor meets on this machine
        lines = [line for line in str(fault).splitlines() if line.strip()] or [type(fault).__name__]
        return engines, {f"{COMPILED} fp32": f"not run: {lines[0].strip():.200}"}
    return engines, {}


def compiled_engine(table: dict[str, Graph]) -> TorchEngine:
    """The graphs through torch.compile, each called once, so that nothing is compiled while the clock runs."""
    calls = {name: torch.compile(graph.module) for name, graph in table.items() if name != "logmel"}
    with torch.inference_mode():
        for name, call in calls.items():
            call(*table[name].example())
    names = {name: tuple(spec.name for spec in table[name].outputs) for name in calls}
    return TorchEngine({name: (call, names[name]) for name, call in calls.items()}, backend=COMPILED)
