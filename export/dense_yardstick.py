"""The dense net on all frames as `avgn bench` times it: in OpenVINO, frames side by side, then the fusion."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from avgn.config import Config
from avgn.contract import TensorSpec
from avgn.errors import UsageError
from avgn.extras import import_extra
from avgn.media import read_clip
from avgn.network import encoders
from avgn.network.avgn import encode
from avgn.network.checkpoint import load_dense
from avgn.network.dense import Dense, dense_config
from avgn.training.dense import as_batch, dense_macs
from export.common import Piece, exported
from export.graphs import Graph
from export.to_openvino import convert
from runtimes.backends.openvino import options, side_by_side
from runtimes.backends.openvino_batches import batch_of, multiply
from runtimes.contestant import Contest, Contestant, Timed, Yardstick, timed

ROW = "dense, all frames"


class DenseFrame(nn.Module):
    """`frame` [1,3,G,G], `mel` [1,1,M,F] -> `local` [1,D], `context` and `audio` [1,d] of one snippet."""

    def __init__(self, model: Dense) -> None:
        super().__init__()
        self.model = model

    def forward(self, frame: Tensor, mel: Tensor) -> tuple[Tensor, ...]:
        """See the class."""
        model = self.model
        local = encoders.pool(encode(model.focus_encoder, model.focus_pixels(frame)))
        return local, model.frame_token(local), model.sound_token(encoders.pool(encode(model.sound_encoder, mel)))


class DenseFusion(nn.Module):
    """`context` [1,T,d], `local` [1,T,D], `audio` [1,T,d], `seen`, `heard` [1,T] -> `logits` [1,C]."""

    def __init__(self, model: Dense) -> None:
        super().__init__()
        self.fusion, self.count = model.fusion, model.config.snippets

    def forward(self, context: Tensor, local: Tensor, audio: Tensor, seen: Tensor, heard: Tensor) -> tuple[Tensor]:
        """See the class."""
        return (self.fusion(context, local, audio, torch.eye(self.count)[None], seen, heard),)


def dense_graphs(model: Dense) -> dict[str, Graph]:
    """The two graphs of a dense net; together they compute what `Dense.forward` does."""
    config, model = model.config, model.eval()
    t, d, width = config.snippets, config.saliency.width, model.focus_encoder.channels
    side, mel = config.frame.size, (1, 1, config.sound.mels, config.sound.frames)
    local, tokens = {"local": (1, width)}, {"context": (1, d), "audio": (1, d)}
    masks = {"context": (1, t, d), "local": (1, t, width), "audio": (1, t, d), "seen": (1, t), "heard": (1, t)}
    return {
        "frame": _graph("frame", DenseFrame(model), {"frame": (1, 3, side, side), "mel": mel}, local | tokens),
        "fusion": _graph("fusion", DenseFusion(model), masks, {"logits": (1, config.classes)}),
    }


def dense_yardstick(folder: Path | None, int8: bool = False) -> Yardstick:
    """The run in `folder`, or without one untrained weights, which take as long.

    With `int8` its encoders are quantised as ours are, without training and on the contest's clip alone: enough for its
    time, not for its answers. That raises MissingError without the extra `quantize`.
    """

    def make(contest: Contest) -> list[Contestant]:
        model = dense_model(contest.subjects[0].classifier.config, folder)
        macs = dense_macs(model)
        if int8:
            model = in_int8(model, contest.clip)
        count = model.config.snippets
        requests = compiled(dense_graphs(model), contest.threads, {"frame": count})

        def measure() -> Timed:
            return {ROW: sum(timed(partial(side_by_side, together)) for together in requests.values())}

        threads = int(requests["frame"][0].get_compiled_model().get_property("INFERENCE_NUM_THREADS"))
        bundle = "untrained" if folder is None else folder.name
        return [Contestant("openvino", "int8" if int8 else "fp32", threads, {ROW: macs}, measure, bundle)]

    return make


def in_int8(model: Dense, clip: Path) -> Dense:
    """The net with int8 encoders, their ranges those of `clip`."""
    quantise = import_extra("quantize.ptq", "quantize", "the dense net in int8").quantise
    batch = as_batch(read_clip(clip, model.config), model.config)
    frames = model.focus_pixels(batch.frames.flatten(0, 1))
    model.focus_encoder = quantise(model.focus_encoder, [frames])
    model.sound_encoder = quantise(model.sound_encoder, [batch.mel.flatten(0, 1)])
    made: Dense = import_extra("quantize.quantizer", "quantize", "the dense net in int8").spelled(model, "fake")
    return made


def dense_model(config: Config, folder: Path | None) -> Dense:
    """The net beside an AVGN of `config`. Raises UsageError for a run with another number of snippets or classes."""
    if folder is None:
        return Dense(dense_config(config)).eval()
    model, _ = load_dense(folder)
    if (model.config.snippets, model.config.classes) != (config.snippets, config.classes):
        raise UsageError(f"{folder}: has other snippets or classes than the bundle; bench it with its own.")
    return model


def compiled(graphs: Mapping[str, Graph], threads: int | None, counts: Mapping[str, int]) -> dict[str, list[Any]]:
    """Infer requests of each graph for `counts` calls or one, compiled and in batches as the bundle's own, on zeros."""
    import openvino as ov

    core, requests = ov.Core(), {}
    for name, graph in graphs.items():
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", ".*LeafSpec", FutureWarning)  # torch's own business
            made = convert(Piece(graph, exported(graph)))
        files = {Path(file).suffix: data for file, data in made.files.items()}
        count = counts.get(name, 1)
        how = options("fp32", threads, several=count > 1)
        model = core.read_model(files[".xml"], files[".bin"])
        ready = core.compile_model(model, "CPU", how)
        size = batch_of(count, int(ready.get_property("NUM_STREAMS")))
        if size > 1:
            multiply(model, size)
            ready = core.compile_model(model, "CPU", how)
        requests[name] = [ready.create_infer_request() for _ in range(count // size)]
        for request in requests[name]:
            request.infer([torch.cat([value] * size).numpy() for value in graph.example()])
    return requests


def _graph(
    name: str, module: nn.Module, inputs: Mapping[str, tuple[int, ...]], outputs: Mapping[str, tuple[int, ...]]
) -> Graph:
    specs = [tuple(TensorSpec(key, shape, "float32") for key, shape in side.items()) for side in (inputs, outputs)]
    return Graph(name, module.eval(), specs[0], specs[1])
