"""The tiny graphs of `tests/runtimes/tiny.py` as torch modules: what converters make of them is known in numpy."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import torch
from torch import nn

import tiny
from avgn.contract import contract
from avgn.network.checkpoint import new_run
from avgn.network.logmel import LogMel
from export import common
from export.common import Piece, exported
from export.graphs import Graph


class Net(nn.Module):
    """Holds the tiny weights as buffers; not under the bare names, some of which are those of outputs."""

    def __init__(self, *names):
        super().__init__()
        for name in names:
            self.register_buffer(f"w_{name}", torch.from_numpy(tiny.W[name].copy()))


class Glance(Net):
    def __init__(self):
        super().__init__("visual", "audio", "centre", "context")

    def forward(self, frame, mel, heard):
        colour = frame.mean((2, 3))
        audio = heard * (mel.mean((1, 3)) @ self.w_audio)
        return colour @ self.w_visual, audio, torch.sigmoid(4 * colour @ self.w_centre), colour @ self.w_context


class Select(Net):
    def __init__(self):
        super().__init__("glance_logits")

    def forward(self, visual, audio, heard, seen):
        visual, audio = visual * seen[..., None], audio * heard[..., None]
        tokens = torch.cat([visual, audio], 1)
        return torch.sigmoid(visual.sum(-1) + audio.sum(-1)), tokens, tokens.mean(1) @ self.w_glance_logits


class PlainSelect(Select):
    """Saliencies without the sigmoid: on a loud clip it would be 0 to the last digit, where engines may differ."""

    def forward(self, visual, audio, heard, seen):
        _, tokens, logits = super().forward(visual, audio, heard, seen)
        return tokens.reshape(1, 2, tiny.CONFIG.snippets, -1).sum((1, 3)), tokens, logits


class Focus(Net):
    def __init__(self):
        super().__init__("local")

    def forward(self, patch):
        return (patch.mean((2, 3)) @ self.w_local,)


class Classify(Net):
    def __init__(self):
        super().__init__("tokens_logits", "context_logits", "local_logits", "when_logits")

    def forward(self, tokens, context, local, when, used, heard, seen):
        wide = used[..., None]
        logits = tokens.mean(1) @ self.w_tokens_logits + (context * wide).sum(1) @ self.w_context_logits
        logits = logits + (local * wide).sum(1) @ self.w_local_logits
        logits = logits + (when.float() * used).sum(1, keepdim=True) * self.w_when_logits
        return (logits * (1 + 0.1 * (heard + seen).sum(1, keepdim=True)),)


class Sound(nn.Module):
    """The real front end: it has no weights of its own."""

    def __init__(self):
        super().__init__()
        self.front = LogMel(tiny.SOUND)

    def forward(self, sound):
        return (self.front(sound),)


NETS = {"glance": Glance, "select": Select, "focus": Focus, "classify": Classify}
WITH_SOUND = {**NETS, "logmel": Sound}


def graph(name, module=None):
    """One tiny graph, or another `module` in its place."""
    return Graph(name, (module or WITH_SOUND[name]()).eval(), *contract(tiny.CONFIG, name, tiny.LOCAL))


def pieces(**instead):
    """All of them as pieces; `instead` names other modules."""
    return {name: Piece(graph(name, instead.get(name)), exported(graph(name, instead.get(name)))) for name in NETS}


def as_run(patch):
    """Makes exports take any run for one of which the graphs are the tiny ones."""
    run = replace(new_run(tiny.CONFIG, tiny.LABELS), run="0123456789abcdef")  # the same in every process
    table = {name: graph(name) for name in WITH_SOUND} | {"select": graph("select", PlainSelect())}
    patch.setattr(common, "load_run", lambda _: (SimpleNamespace(config=tiny.CONFIG), run))
    patch.setattr(common, "graphs", lambda *_: table)
    return Path("tiny.run")
