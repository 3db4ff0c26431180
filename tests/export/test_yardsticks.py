"""PyTorch beside a bundle's engines in `avgn bench`: the same graphs, the same decisions, rows of their own."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import openvino as ov
import pytest
import torch

import tiny
import tiny_nets
from avgn.bundle import open_bundle
from avgn.config import load_config
from avgn.errors import UsageError
from avgn.network.avgn import Batch
from avgn.network.dense import Dense
from clips import write_clip
from export import dense_yardstick, yardsticks
from runtimes.backends import open_engine
from runtimes.backends.openvino import side_by_side
from runtimes.bench import Options, run_bench
from runtimes.classifier import Classifier

SMALL = replace(load_config("edge"), snippets=2, chosen=1)


@pytest.fixture
def bundle(tmp_path, monkeypatch):
    """A tiny bundle, and a run with the same graphs."""
    run = SimpleNamespace(run=tiny.head().run)
    monkeypatch.setattr(yardsticks, "read_run", lambda _: run)
    monkeypatch.setattr(yardsticks, "load_run", lambda _: (None, run))
    monkeypatch.setattr(yardsticks, "graphs", lambda *_: {name: tiny_nets.graph(name) for name in tiny_nets.NETS})
    monkeypatch.setattr(torch, "compile", lambda module: module)  # compiling takes a minute and is PyTorch's business
    return open_bundle(tiny.tiny_bundle(tmp_path))


def test_eager_and_compiled_beside_the_engines(bundle, tmp_path):
    write_clip(tmp_path / "a.mp4", 2.0)
    engines, not_run = yardsticks.torch_engines(Path("run"), bundle, threads=1)
    assert not_run == {} and [engine.backend for engine in engines] == ["torch", "torch_compile"]
    found = run_bench([bundle], Options(1, threads=1, clips=(tmp_path / "a.mp4",)), engines)
    rows = {(row.name, row.backend): row for row in found.rows}
    for backend in ("openvino", "torch", "torch_compile"):
        assert rows["avgn classify", backend].macs == rows["bare graphs", backend].macs > 0
        assert rows["bare focus", backend].macs == tiny.MACS["focus"]
        assert rows["bare graphs", backend].threads == 1
    assert set(found.decisions(bundle.manifest.name)) == {
        (backend, "fp32") for backend in ("openvino", "torch", "torch_compile")
    }
    classifier = Classifier(bundle, open_engine(bundle, threads=1))
    first, second = (item.classify(tmp_path / "a.mp4") for item in (classifier, classifier.with_engine(engines[0])))
    assert (first.label, first.selected) == (second.label, second.selected)


def test_what_cannot_be_compiled_is_said_and_not_timed(bundle, monkeypatch):
    def broken(_):
        raise RuntimeError("no C++ compiler\nand a long story")

    monkeypatch.setattr(torch, "compile", broken)
    engines, not_run = yardsticks.torch_engines(Path("run"), bundle)
    assert [engine.backend for engine in engines] == ["torch"]
    assert not_run == {"torch_compile fp32": "not run: no C++ compiler"}


def test_another_run_than_the_bundles_is_refused(bundle, monkeypatch):
    monkeypatch.setattr(yardsticks, "read_run", lambda _: SimpleNamespace(run="other"))
    with pytest.raises(UsageError, match="run other"):
        yardsticks.torch_engines(Path("run"), bundle)


def test_the_dense_graphs_compute_what_the_dense_net_does(monkeypatch):
    config = replace(SMALL, chosen=SMALL.snippets, frame=replace(SMALL.frame, size=64, pixels=SMALL.focus.pixels))
    torch.manual_seed(0)
    model = Dense(config).eval()
    t, sound = config.snippets, config.sound
    requests = dense_yardstick.compiled(dense_yardstick.dense_graphs(model), 2, {"frame": t})
    frames, mel = torch.rand(1, t, 3, 64, 64), torch.rand(1, t, 1, sound.mels, sound.frames)
    seen, heard = torch.ones(1, t), torch.ones(1, t)
    heard[0, 1] = 0
    with torch.inference_mode():
        truth = model(Batch(frames, frames, mel, heard, seen)).numpy()
    parts = zip(*(value[0].chunk(len(requests["frame"])) for value in (frames, mel)), strict=True)  # batches of frames
    for request, values in zip(requests["frame"], parts, strict=True):
        for place, value in enumerate(values):
            request.set_input_tensor(place, ov.Tensor(value.numpy().copy()))
    side_by_side(requests["frame"])
    made = [[request.get_output_tensor(place).data.copy() for place in range(3)] for request in requests["frame"]]
    local, context, audio = (np.concatenate(each)[None] for each in zip(*made, strict=True))
    logits = requests["fusion"][0].infer([context, local, audio, seen.numpy(), heard.numpy()])[0]
    np.testing.assert_allclose(logits, truth, rtol=1e-3, atol=1e-4)
