from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor, nn
from torch.nn import functional as F

from avgn.config import Config
from avgn.errors import UsageError
from avgn.network.encoders import build
from avgn.training.macs import count, macs_by_graph, per_video


class Call(nn.Module):
    """A function as a module."""

    def __init__(self, function):
        super().__init__()
        self.function = function

    def forward(self, *inputs: Tensor) -> Tensor:
        return self.function(*inputs)


def attention_macs(queries: int, keys: int, width: int) -> int:
    """Projections of queries, keys, values and output, then scores and the weighted sum."""
    return (2 * queries + 2 * keys) * width * width + 2 * queries * keys * width


# MobileNetV2 and ResNet-50: the figures of the AdaFocus line of work (without classifier). One sound channel spares
# 2 of 3 inputs of the stem: 2 * 9 * 32 * 64 * 64 less than three. mn04 and Lite: regression figures.
@pytest.mark.parametrize(
    ("name", "channels", "side", "millions"),
    [
        ("mobilenet_v2", 3, 224, 299.5),
        ("resnet50", 3, 128, 1334.6),
        ("mobilenet_v2", 1, 128, 299.494272 * (128 / 224) ** 2 - 2 * 9 * 32 * 64 * 64 / 1e6),
        ("efficientnet_lite0", 3, 224, 383.9),
        ("efficientnet_lite2", 3, 260, 858.5),
        ("mn04", 1, 128, 14.2),
    ],
)
def test_encoders_cost_what_is_published(name, channels, side, millions):
    assert count(build(name, channels), torch.zeros(1, channels, side, side)) / 1e6 == pytest.approx(millions, abs=0.06)


@pytest.mark.parametrize("name", ["mobilenet_v2", "efficientnet_lite0", "mn04"])
def test_a_net_costs_the_sum_of_its_layers(name):
    net, layers = build(name, 1), []

    def note(module: nn.Module, _inputs: tuple[Tensor, ...], output: Tensor) -> None:
        layers.append(output.numel() * module.weight[0].numel())

    for module in net.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            module.register_forward_hook(note)
    assert count(net, torch.zeros(2, 1, 64, 96)) == sum(layers) > 0


@settings(max_examples=25)
@given(batch=st.integers(1, 3), queries=st.integers(1, 9), keys=st.integers(1, 9), need_weights=st.booleans())
def test_multihead_attention(batch, queries, keys, need_weights):
    attention = nn.MultiheadAttention(8, 2, batch_first=True).requires_grad_(False)
    call = Call(lambda q, k: attention(q, k, k, need_weights=need_weights)[0])
    expected = batch * attention_macs(queries, keys, 8)
    assert count(call, torch.zeros(batch, queries, 8), torch.zeros(batch, keys, 8)) == expected


@pytest.mark.parametrize("frozen", [True, False])
def test_transformer_encoder_in_evaluation_is_counted_whole(frozen):
    tokens, width = 32, 64
    layer = nn.TransformerEncoderLayer(width, 4, 4 * width, batch_first=True)
    net = nn.TransformerEncoder(layer, 2).eval().requires_grad_(not frozen)
    feed_forward = 8 * tokens * width * width
    assert attention_macs(tokens, tokens, width) == 2 * tokens**2 * width + 4 * tokens * width**2
    assert count(net, torch.zeros(3, tokens, width)) == 3 * 2 * (attention_macs(tokens, tokens, width) + feed_forward)


@pytest.mark.parametrize(
    ("function", "shapes", "expected"),
    [
        (F.scaled_dot_product_attention, [(2, 4, 10, 8), (2, 4, 20, 8), (2, 4, 20, 8)], 2 * (2 * 4 * 10 * 20 * 8)),
        (torch.matmul, [(2, 5, 7), (2, 7, 3)], 2 * 5 * 7 * 3),
        (torch.matmul, [(5, 7), (7, 3)], 5 * 7 * 3),
        (torch.matmul, [(2, 5, 7), (7,)], 2 * 5 * 7),
        (torch.matmul, [(7,), (7,)], 7),
        (torch.baddbmm, [(2, 5, 3), (2, 5, 7), (2, 7, 3)], 2 * 5 * 7 * 3),
        (lambda x, w: torch.einsum("bij,kj->bik", x, w), [(2, 5, 7), (3, 7)], 2 * 5 * 7 * 3),
        (lambda x, w, b: F.linear(x, w, b), [(7,), (3, 7), (3,)], 7 * 3),
        (lambda x: F.hardswish(x) + x * x.mean(), [(4, 9)], 0),
    ],
)
def test_products(function, shapes, expected):
    assert count(Call(function), *[torch.ones(shape) for shape in shapes]) == expected


@settings(max_examples=25)
@given(
    side=st.integers(3, 12), kernel=st.sampled_from([1, 3]), stride=st.integers(1, 2), groups=st.sampled_from([1, 2, 4])
)
def test_convolution(side, kernel, stride, groups):
    net = nn.Conv2d(4, 8, kernel, stride, kernel // 2, groups=groups)
    out = (side + 2 * (kernel // 2) - kernel) // stride + 1
    assert count(net, torch.zeros(2, 4, side, side)) == 2 * out * out * 8 * (4 // groups) * kernel * kernel


def test_counting_leaves_no_trace():
    net = nn.Sequential(nn.BatchNorm1d(3), nn.Dropout(), nn.Linear(3, 3)).train()
    net[1].eval()
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    count(net, torch.randn(4, 3))
    with pytest.raises(RuntimeError):
        count(net, torch.randn(4, 5))
    assert [part.training for part in net.modules()] == [True, True, False, True]
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())
    assert torch.backends.mha.get_fastpath_enabled()


def test_macs_by_graph_counts_each_graph_alone():
    graphs = {"glance": (nn.Linear(3, 5), (torch.zeros(1, 3),)), "focus": (nn.Linear(7, 2), (torch.zeros(1, 7),))}
    assert macs_by_graph(graphs) == {"glance": 15, "focus": 14}


CALLS = {"glance": 1000, "select": 100, "focus": 10_000, "classify": 10, "logmel": 1}


@pytest.mark.parametrize(
    ("chosen", "total"), [(None, 16_000 + 100 + 40_000 + 10), (2, 16_000 + 100 + 20_000 + 10), (0, 16_000 + 100)]
)
def test_a_video_costs_its_calls(chosen, total):
    found = per_video(CALLS, Config(snippets=16, chosen=4), chosen)
    assert found["total"] == total
    assert found["glance"] + found["select"] + found["focus"] + found["classify"] == total
    assert found["logmel"] == 16


def test_a_video_without_a_sound_graph_has_no_such_row():
    assert "logmel" not in per_video({key: 1 for key in CALLS if key != "logmel"}, Config())


def test_more_patches_than_snippets_are_refused():
    with pytest.raises(UsageError, match=r"17.*0\.\.16"):
        per_video(CALLS, Config(snippets=16), 17)
