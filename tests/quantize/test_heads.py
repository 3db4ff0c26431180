"""Token layers, attention and π in int8: which layers, how near to float, and that a run keeps them."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
from torch import nn

from avgn.network.encoders import pool
from export.common import Piece, exported
from export.graphs import graphs
from export.pairs import settle
from export.to_openvino import convert, int8_share
from quantize.calibration import with_parts
from quantize.heads import quantise_heads
from quantize.quantizer import owner, quantizers, spelled
from quantize.state import ENCODERS, HEADS, load_quantised, save_quantised, words_of

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL

from by_hand import quantised_by_hand

FLOAT_LAYERS = {"query", "policy.2"}  # of patch_net


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network with quantised encoders, its heads in int8, and the inputs that these were calibrated on."""
    folder = tmp_path_factory.mktemp("heads")
    model = quantised_by_hand(folder, SMALL, tuple("abcde"))
    random = torch.Generator().manual_seed(3)
    side, sound = SMALL.frame.size, SMALL.sound
    inputs = {
        "frame_encoder": [torch.randn(4, 3, side, side, generator=random) for _ in range(4)],
        "sound_encoder": [torch.randn(4, 1, sound.mels, sound.frames, generator=random) for _ in range(4)],
    }
    encoders = {name: getattr(model, name) for name in ENCODERS}
    return folder, model, inputs, quantise_heads(model, encoders, inputs)


def test_every_layer_worth_it_has_int8_weights(made):
    heads = made[3]
    layers = {
        (name, path)
        for name, head in heads.items()
        for path, layer in head.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    }
    held = {
        (name, path)
        for name, head in heads.items()
        for place, hook in quantizers(head).items()
        for path, layer in head.named_modules()
        if hook.is_weight and layer is owner(head, place)
    }
    assert layers - held == {("patch_net", path) for path in FLOAT_LAYERS} and set(heads) == set(HEADS)


@torch.no_grad()
def test_they_stay_near_float(made):
    _, model, inputs, heads = made
    sight, sound = model.frame_encoder(inputs["frame_encoder"][0]), model.sound_encoder(inputs["sound_encoder"][0])
    heard = torch.ones(len(sight), 1)
    wanted, found = (net(sight, sound, heard) for net in (model.patch_net, heads["patch_net"]))
    pairs = [(found.context, wanted.context), (found.centre, wanted.centre)]
    pairs += [
        (heads[name](pool(given)), getattr(model, name)(pool(given)))
        for name, given in (("frame_token", sight), ("sound_token", sound))
    ]
    for near, exact in pairs:
        error = float((near - exact).square().mean().sqrt() / exact.square().mean().sqrt())
        assert 0 < error < 0.03


def test_a_run_keeps_them(made, tmp_path):
    folder, model, inputs, heads = made
    encoders = {name: getattr(model, name) for name in ENCODERS}
    save_quantised(tmp_path / "run", folder / "float", encoders | heads, "with heads")
    loaded, _ = load_quantised(tmp_path / "run")
    given = inputs["frame_encoder"][0] * 0.2 + 0.5, inputs["sound_encoder"][0], torch.ones(4, 1)
    with torch.no_grad():
        wanted, found = (net.eval().glance(*given) for net in (with_parts(model, heads), loaded))
    assert torch.equal(found.visual, wanted.visual) and torch.equal(found.audio, wanted.audio)
    assert torch.equal(found.place.context, wanted.place.context)
    assert all(quantizers(getattr(loaded, name)) for name in HEADS) and words_of(tmp_path / "run") == "with heads"
    assert not any(quantizers(getattr(load_quantised(folder / "int8")[0], name)) for name in HEADS)


def test_openvino_runs_them_in_int8(made):
    """The encoders are in float but for one layer each: the share rises by what the heads add."""
    _, model, _, heads = made
    shares = []
    for net in (model, with_parts(model, heads)):
        graph = graphs(spelled(net, "fake"))["glance"]
        files = convert(Piece(graph, exported(graph))).files
        shares.append(int8_share({Path(name).suffix: data for name, data in files.items()}))
    assert shares[1] > shares[0]


def test_a_pair_is_not_hidden_by_a_detach():
    """XNNPACK leaves a layer outside whose input comes by way of an alias, and ExecuTorch then cannot run the file."""

    class Detached(nn.Module):
        def forward(self, x):
            q = torch.ops.quantized_decomposed
            ints = (0.1, 0, -128, 127, torch.int8)
            return q.dequantize_per_tensor(q.quantize_per_tensor(x, *ints), *ints).detach() * 2

    program = torch.export.export(Detached(), (torch.zeros(3),)).run_decompositions({})
    settle(program)
    (product,) = [node for node in program.graph.nodes if node.target == torch.ops.aten.mul.Tensor]
    assert "dequantize_per_tensor" in str(product.args[0].target)
