"""The five graphs as modules: thin wrappers of the network's stages with the contract's names and order of tensors."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from avgn.config import Config
from avgn.contract import TensorSpec, contract
from avgn.network.avgn import AVGN
from avgn.network.logmel import LogMel


class GlanceGraph(nn.Module):
    """`frame`, `mel`, `heard` -> `visual`, `audio`, `centre`, `context` of one snippet."""

    def __init__(self, model: AVGN) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, mel: Tensor, heard: Tensor) -> tuple[Tensor, ...]:
        """See the class; shapes as in `avgn.manifest.contract`."""
        glance = self.model.glance(frame, mel, heard)
        return glance.visual, glance.audio, glance.place.centre, glance.place.context


class SelectGraph(nn.Module):
    """`visual`, `audio`, `heard`, `seen` -> `saliency`, `tokens`, `logits` of one window."""

    def __init__(self, model: AVGN) -> None:
        super().__init__()
        self.model = model.select_net

    def forward(self, visual: Tensor, audio: Tensor, heard: Tensor, seen: Tensor) -> tuple[Tensor, ...]:
        """See the class; shapes as in `avgn.manifest.contract`."""
        selected = self.model(visual, audio, heard, seen)
        return selected.saliency, selected.tokens, selected.logits


class FocusGraph(nn.Module):
    """`patch` -> `local` of one patch."""

    def __init__(self, model: AVGN) -> None:
        super().__init__()
        self.model = model

    def forward(self, patch: Tensor) -> tuple[Tensor, ...]:
        """See the class; shapes as in `avgn.manifest.contract`."""
        return (self.model.focus(patch),)


class ClassifyGraph(nn.Module):
    """`tokens`, `context`, `local`, `when`, `used`, `heard`, `seen` -> `logits` of one decision."""

    def __init__(self, model: AVGN) -> None:
        super().__init__()
        self.model = model

    def forward(self, *inputs: Tensor) -> tuple[Tensor, ...]:
        """See the class; shapes as in `avgn.manifest.contract`."""
        return (self.model.classify(*inputs),)


class LogMelGraph(nn.Module):
    """`sound` -> `mel` of one snippet, for hosts without a DSP library."""

    def __init__(self, model: AVGN) -> None:
        super().__init__()
        self.model = LogMel(model.config.sound)

    def forward(self, sound: Tensor) -> tuple[Tensor, ...]:
        """See the class; shapes as in `avgn.manifest.contract`."""
        return (self.model(sound),)


# The graphs of each stage, for formats with one file a stage.
STAGE_FILES = {"glance": ("glance", "select", "logmel"), "focus": ("focus", "classify")}

WRAPPERS: dict[str, Callable[[AVGN], nn.Module]] = {
    "glance": GlanceGraph,
    "select": SelectGraph,
    "focus": FocusGraph,
    "classify": ClassifyGraph,
    "logmel": LogMelGraph,
}


@dataclass(frozen=True, eq=False)
class Graph:
    """One graph ready to be exported."""

    name: str
    module: nn.Module
    inputs: tuple[TensorSpec, ...]
    outputs: tuple[TensorSpec, ...]

    def example(self) -> tuple[Tensor, ...]:
        """Contiguous example inputs of the right shapes and dtypes (zeros)."""
        return tuple(torch.zeros(spec.shape, dtype=getattr(torch, spec.dtype)) for spec in self.inputs)


def graphs(model: AVGN, batch: int = 1) -> dict[str, Graph]:
    """All graphs of `model`, in evaluation mode; `batch` is how many patches one call of focus takes."""
    model.eval()
    return {
        name: _graph(name, wrap(model).eval(), model.config, model.focus_encoder.channels, batch)
        for name, wrap in WRAPPERS.items()
    }


def _graph(name: str, module: nn.Module, config: Config, local: int, batch: int) -> Graph:
    inputs, outputs = contract(config, name, local, batch)
    return Graph(name, module, inputs, outputs)
