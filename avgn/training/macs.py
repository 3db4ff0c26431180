"""Multiply-accumulates (MACs; what the literature of this field calls GFLOPs) of a network's stages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from avgn.config import Config
from avgn.errors import UsageError

# Products with a vector, which PyTorch's counter leaves out: shapes to operations (two per multiply-accumulate).
_VECTOR_PRODUCTS = {
    torch.ops.aten.mv: lambda matrix, vector, **_: 2 * math.prod(matrix),
    torch.ops.aten.addmv: lambda bias, matrix, vector, **_: 2 * math.prod(matrix),
    torch.ops.aten.dot: lambda left, right, **_: 2 * math.prod(left),
}


def count(module: nn.Module, *inputs: Any) -> int:
    """MACs of one forward of `module` on `inputs`, in evaluation mode: convolutions and matrix products alone.

    Attention is counted as its projections and its two products. Biases, activations, norms, softmax and other
    elementwise work are not counted, as is usual. A convolution counts its padding, as if every tap were multiplied.
    """
    counter = FlopCounterMode(display=False, custom_mapping=_VECTOR_PRODUCTS)
    with _evaluated(module), _countable(), torch.no_grad(), counter:
        module(*inputs)
    return counter.get_total_flops() // 2


def macs_by_graph(graphs: Mapping[str, tuple[nn.Module, tuple[Tensor, ...]]]) -> dict[str, int]:
    """MACs of one call of each graph: `graphs` maps its name to the module and example inputs of batch 1."""
    return {name: count(module, *inputs) for name, (module, inputs) in graphs.items()}


def per_video(macs: Mapping[str, int], config: Config, chosen: int | None = None) -> dict[str, int]:
    """MACs of one decision over T snippets, by stage, from MACs per call (`macs_by_graph`).

    `glance` runs T times, `select` once, `focus` on each of `chosen` patches (k where None), `classify` once; with 0
    chosen (an early exit) neither of the last two runs. `total` is their sum; `logmel`, T calls of the sound front end
    where `macs` has it, stands apart: it is signal processing, done with an FFT wherever the host can.
    Raises UsageError for `chosen` outside 0..T.
    """
    looks = config.chosen if chosen is None else chosen
    if not 0 <= looks <= config.snippets:
        raise UsageError(f"chosen (k) is {looks}: it must lie in 0..{config.snippets}.")
    calls = {"glance": config.snippets, "select": 1, "focus": looks, "classify": int(looks > 0)}
    stages = {name: times * macs[name] for name, times in calls.items()}
    apart = {"logmel": config.snippets * macs["logmel"]} if "logmel" in macs else {}
    return {**stages, "total": sum(stages.values()), **apart}


@contextmanager
def _evaluated(module: nn.Module) -> Iterator[None]:
    """Evaluation mode inside, each submodule's own mode restored after."""
    modes = [(part, part.training) for part in module.modules()]
    module.eval()
    try:
        yield
    finally:
        for part, training in modes:
            part.training = training


@contextmanager
def _countable() -> Iterator[None]:
    """Attention as plain matrix products: the counter does not see PyTorch's fused kernels on a CPU."""
    fast = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast)
