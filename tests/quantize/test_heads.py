"""All behind the encoders in int8: which layers, how near to float, and that a run keeps them."""

from __future__ import annotations

import sys
from pathlib import Path

import onnx
import pytest
import torch
from torch import nn

from avgn.manifest import Parity
from avgn.network.encoders import pool
from export import to_onnx
from export.common import Piece, exported
from export.graphs import graphs
from export.onnx_file import executed_share, products
from export.onnx_file import int8_share as int8_share_of
from export.pairs import settle
from export.parity import BOUNDS, EndToEnd, Proof
from export.to_openvino import convert, int8_share
from quantize.heads import quantise_behind
from quantize.quantizer import owner, quantizers, spelled
from quantize.state import DECIDERS, ENCODERS, HEADS, load_quantised, save_quantised, with_parts, words_of

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL, batch

from by_hand import quantised_by_hand

FLOAT_LAYERS = {
    ("patch_net", "query"),
    ("patch_net", "policy.2"),
    ("select_net", "saliency"),
    ("select_net", "classifier"),
    ("fusion", "classifier"),
}


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A network with quantised encoders, all behind them in int8, and the inputs that it was calibrated on."""
    folder = tmp_path_factory.mktemp("heads")
    model = quantised_by_hand(folder, SMALL, tuple("abcde"))
    random = torch.Generator().manual_seed(3)
    side, sound = SMALL.frame.size, SMALL.sound
    inputs = {
        "frame_encoder": [torch.randn(4, 3, side, side, generator=random) for _ in range(4)],
        "sound_encoder": [torch.randn(4, 1, sound.mels, sound.frames, generator=random) for _ in range(4)],
    }
    encoders = {name: getattr(model, name) for name in ENCODERS}
    return folder, model, inputs, quantise_behind(model, encoders, inputs, [batch(2, seed=seed) for seed in (4, 5)])


def test_every_layer_worth_it_has_int8_weights(made):
    parts = made[3]
    layers = {
        (name, path)
        for name, part in parts.items()
        for path, layer in part.named_modules()
        if isinstance(layer, (nn.Linear, nn.Conv2d))
    }
    held = {
        (name, path)
        for name, part in parts.items()
        for place, hook in quantizers(part).items()
        for path, layer in part.named_modules()
        if hook.is_weight and layer is owner(part, place)
    }
    assert layers - held == FLOAT_LAYERS and set(parts) == set(HEADS + DECIDERS)


@torch.no_grad()
def test_they_stay_near_float(made):
    _, model, inputs, parts = made
    sight, sound = model.frame_encoder(inputs["frame_encoder"][0]), model.sound_encoder(inputs["sound_encoder"][0])
    heard = torch.ones(len(sight), 1)
    wanted, found = (net(sight, sound, heard) for net in (model.patch_net, parts["patch_net"]))
    pairs = [(found.context, wanted.context), (found.centre, wanted.centre)]
    pairs += [
        (parts[name](pool(given)), getattr(model, name)(pool(given)))
        for name, given in (("frame_token", sight), ("sound_token", sound))
    ]
    for near, exact in pairs:
        error = float((near - exact).square().mean().sqrt() / exact.square().mean().sqrt())
        assert 0 < error < 0.03


@torch.no_grad()
def test_selection_and_decision_stay_near_float(made):
    """On a clip that calibration did not see, half of it silent."""
    _, model, _, parts = made
    clip = batch(1, seed=9)
    clip = clip._replace(heard=torch.tensor([[1.0, 1, 1, 0, 0, 0]]))
    glance = model.glance_all(clip)
    given = glance.visual[None], glance.audio[None], clip.heard, clip.seen
    wanted, found = model.select(*given), with_parts(model, parts).select(*given)
    pairs = [(found.saliency, wanted.saliency), (found.tokens, wanted.tokens), (found.logits, wanted.logits)]
    when = torch.tensor([[1, 4]])
    slots = glance.place.context[None, :2], model.focus(torch.rand(2, 3, 64, 64))[None], when, torch.ones(1, 2)
    decided = [net.classify(wanted.tokens, *slots, clip.heard, clip.seen) for net in (with_parts(model, parts), model)]
    for near, exact in (*pairs, decided):
        error = float((near - exact).square().mean().sqrt() / exact.square().mean().sqrt())
        assert 0 < error < 0.05


def test_a_run_keeps_them(made, tmp_path):
    folder, model, inputs, parts = made
    encoders = {name: getattr(model, name) for name in ENCODERS}
    save_quantised(tmp_path / "run", folder / "float", encoders | parts, "with all")
    loaded, _ = load_quantised(tmp_path / "run")
    clip = batch(1, seed=9)
    with torch.no_grad():
        assert torch.equal(loaded.eval()(clip), with_parts(model, parts).eval()(clip))
    given = inputs["frame_encoder"][0] * 0.2 + 0.5, inputs["sound_encoder"][0], torch.ones(4, 1)
    with torch.no_grad():
        wanted, found = (net.eval().glance(*given) for net in (with_parts(model, parts), loaded))
    assert torch.equal(found.visual, wanted.visual) and torch.equal(found.audio, wanted.audio)
    assert torch.equal(found.place.context, wanted.place.context)
    behind = HEADS + DECIDERS
    assert all(quantizers(getattr(loaded, name)) for name in behind) and words_of(tmp_path / "run") == "with all"
    assert not any(quantizers(getattr(load_quantised(folder / "int8")[0], name)) for name in behind)
    save_quantised(tmp_path / "older", folder / "float", encoders | {name: parts[name] for name in HEADS}, "older")
    assert not any(quantizers(getattr(load_quantised(tmp_path / "older")[0], name)) for name in DECIDERS)


@pytest.mark.parametrize("name", ["glance", "select", "classify"])
def test_openvino_runs_them_in_int8(made, name):
    """The encoders are in float but for one layer each: the share rises by what lies behind them."""
    _, model, _, parts = made
    shares = []
    for net in (model, with_parts(model, parts)):
        graph = graphs(spelled(net, "fake"))[name]
        files = convert(Piece(graph, exported(graph))).files
        shares.append(int8_share({Path(name).suffix: data for name, data in files.items()}))
    assert shares[1] > shares[0] and (name == "glance" or shares[1] > 0.8)


def test_onnx_runtime_runs_products_of_matrices_in_int8(made):
    """It gives their weights other names, so they are told by their own."""
    _, model, _, parts = made
    graph = graphs(spelled(with_parts(model, parts), "unsigned"))["select"]
    data = to_onnx.convert(Piece(graph, exported(graph))).files["select.onnx"]
    found = products(onnx.load_model_from_string(data))
    assert executed_share(data, found) == int8_share_of(found) > 0.8


def test_only_what_holds_quantisers_is_judged_as_int8(made):
    """A float graph of an int8 variant must be exact; `classify` wraps the whole network, yet is asked alone."""
    _, model, _, parts = made
    pieces = {}
    for told, net in (("some", with_parts(model, {"fusion": parts["fusion"]})), ("none", model)):
        table = graphs(spelled(net, "folded"))
        pieces |= {(told, name): Piece(table[name], exported(table[name])) for name in ("select", "classify")}
    assert [key for key, piece in pieces.items() if piece.quantised] == [("some", "classify")]
    errors = {name: Parity(1, 0.1, 0.1, 20.0) for name in ("select", "classify")}
    far = Proof(errors, {}, EndToEnd(1, 1, 1, 0), ("classify",))
    (fault,) = far.broken(BOUNDS["int8"])
    assert "select" in fault


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
