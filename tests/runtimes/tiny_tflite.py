"""The tiny graphs of `tiny` as .tflite files: the same formulas once more, in torch, converted by our own exporter."""

from __future__ import annotations

import contextlib
import io

import torch
from ai_edge_quantizer import quantizer, recipe

import tiny
from avgn.bundle import BundleWriter
from avgn.contract import contract
from export.graphs import STAGE_FILES, Graph
from export.tflite_file import inspect
from export.to_tflite import tflite

W = {name: torch.from_numpy(weights) for name, weights in tiny.W.items()}
STAGES = {stage: tuple(name for name in names if name in tiny.MACS) for stage, names in STAGE_FILES.items()}


def glance(frame, mel, heard):
    colour = frame.mean((2, 3))
    audio = heard * (mel.mean((1, 3)) @ W["audio"])
    return colour @ W["visual"], audio, torch.sigmoid(4 * colour @ W["centre"]), colour @ W["context"]


def select(visual, audio, heard, seen):
    visual, audio = visual * seen[..., None], audio * heard[..., None]
    tokens = torch.cat([visual, audio], 1)
    return torch.sigmoid(visual.sum(-1) + audio.sum(-1)), tokens, tokens.mean(1) @ W["glance_logits"]


def focus(patch):
    return (patch.mean((2, 3)) @ W["local"],)


def classify(tokens, context, local, when, used, heard, seen):
    there = used[..., None]
    logits = tokens.mean(1) @ W["tokens_logits"] + (context * there).sum(1) @ W["context_logits"]
    logits = logits + (local * there).sum(1) @ W["local_logits"]
    logits = logits + (when.float() * used).sum(1, keepdim=True) * W["when_logits"]
    return (logits * (1 + 0.1 * (heard + seen).sum(1, keepdim=True)),)


class Formula(torch.nn.Module):
    def __init__(self, formula):
        super().__init__()
        self.formula = formula

    def forward(self, *inputs):
        return self.formula(*inputs)


def graph(formula, name=None):
    name = name or formula.__name__
    return Graph(name, Formula(formula), *contract(tiny.CONFIG, name, tiny.LOCAL))


def tiny_files():
    """The bytes by stage."""
    table = {formula.__name__: graph(formula) for formula in (glance, select, focus, classify)}
    return {stage: tflite([table[name] for name in names]) for stage, names in STAGES.items()}


def int8_file(data, name, samples):
    """The same file with weights, activations, inputs and outputs in int8, calibrated on samples of the inputs."""
    with contextlib.redirect_stdout(io.StringIO()), contextlib.redirect_stderr(io.StringIO()):
        made = quantizer.Quantizer(bytearray(data), recipe.static_wi8_ai8())
        return bytes(made.quantize(made.calibrate({name: samples})).quantized_model)


def tiny_bundle(folder, files, precision="fp32", records=None):
    """A bundle of the files by stage; `records` replaces records by graph."""
    path = folder / "tiny.avgn"
    with BundleWriter(path, tiny.head()) as writer:
        for stage, names in STAGES.items():
            for name in names:
                record = (records or {}).get(name, tiny.record(name, "tflite", precision))
                writer.add(record, {f"{stage}.tflite": files[stage]})
    return path


def specs_of(data, name):
    """Inputs and outputs of a signature as the file has them, in the contract's order."""
    signature, (inputs, outputs) = inspect(data)[name], contract(tiny.CONFIG, name, tiny.LOCAL)
    return tuple(signature.inputs[spec.name] for spec in inputs), tuple(
        signature.outputs[spec.name] for spec in outputs
    )
