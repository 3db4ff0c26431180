from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from avgn.errors import UsageError
from avgn.network.encoders import ENCODERS, PIXELS, Pixels, build, divisible, pool

TORCHVISION = json.loads((Path(__file__).parents[2] / "data" / "torchvision_names.json").read_text())
HEADS = ("classifier.", "fc.")
# Published parameter counts (torchvision, EfficientNet-Lite), less the 1000-way classifier; mn04: its weights file.
PARAMETERS = {
    "mobilenet_v2": 3_504_872 - 1_281_000,
    "resnet50": 25_557_032 - 2_049_000,
    "efficientnet_lite0": 4_652_008 - 1_281_000,
    "efficientnet_lite2": 6_092_072 - 1_281_000,
    "mn04": 983_599 - (384 * 512 + 512) - (512 * 527 + 527),
}


def noise(count: int, seed: int) -> torch.Tensor:
    """`count` float64 values spread over -1..1 by formula, the same on every machine."""
    return 2 * torch.frac(torch.sin(torch.arange(1, count + 1, dtype=torch.float64) * 12.9898 + seed).abs() * 4e4) - 1


def filled(shapes: dict[str, list[int]]) -> dict[str, torch.Tensor]:
    """A state dict of these shapes by formula, scaled so that activations neither die nor explode."""
    weights = {}
    for number, (name, shape) in enumerate(shapes.items()):
        count = torch.Size(shape).numel()
        values = noise(count, number).reshape(shape)
        if name.endswith("num_batches_tracked"):
            weights[name] = torch.tensor(0)
        elif len(shape) > 1:
            weights[name] = (values * 2.0 / (count / shape[0]) ** 0.5).float()
        else:
            offset = 0.0 if name.endswith(("bias", "running_mean")) else 1.0
            weights[name] = (offset + 0.2 * values).float()
    return weights


def picture(side: int = 64) -> torch.Tensor:
    """[1,3,side,side] by formula."""
    return noise(3 * side * side, 1000).float().view(1, 3, side, side)


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
def test_names_shapes_and_outputs_are_torchvisions(name):
    shapes = {key: shape for key, shape in TORCHVISION["shapes"][name].items() if not key.startswith(HEADS)}
    net = build(name, 3).eval()
    assert {key: list(tensor.shape) for key, tensor in net.state_dict().items()} == shapes
    net.load_state_dict(filled(shapes))
    with torch.no_grad():
        found = pool(net(picture()))[0]
    expected = torch.tensor(TORCHVISION["pooled"][name])
    assert expected.std() > 0.01
    torch.testing.assert_close(found[: len(expected)], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("name", ENCODERS)
def test_parameter_count_is_the_published_one(name):
    net = build(name, 1 if name == "mn04" else 3)
    assert sum(parameter.numel() for parameter in net.parameters()) == PARAMETERS[name]


@pytest.mark.parametrize("name", ENCODERS)
@pytest.mark.parametrize(("in_channels", "height", "width"), [(3, 64, 96), (1, 33, 64), (3, 65, 32)])
def test_map_has_the_declared_channels_and_stride(name, in_channels, height, width):
    net = build(name, in_channels).eval()
    with torch.no_grad():
        found = net(torch.zeros(2, in_channels, height, width))
    assert found.shape == (2, net.channels, -(-height // net.stride), -(-width // net.stride))
    assert net.stride == 32


@pytest.mark.parametrize("name", ENCODERS)
def test_every_weight_takes_part(name):
    net = build(name, 1).train()
    pool(net(torch.randn(4, 1, 64, 64))).square().sum().backward()
    assert [key for key, weight in net.named_parameters() if weight.grad is None] == []


def test_efficientnet_lite_has_relu6_and_no_gates():
    kinds = {type(module) for module in build("efficientnet_lite0", 3).modules()}
    assert nn.ReLU6 in kinds
    assert not kinds & {nn.Sigmoid, nn.Hardswish, nn.SiLU, nn.Linear}


def test_squeeze_excitation_follows_its_formula():
    net = build("mn04", 1)
    gate = net.features[4].block[2]
    x = torch.randn(2, 32, 5, 7)
    first, second = gate.conc_se_layers[0].fc1, gate.conc_se_layers[0].fc2
    squeezed = torch.relu(x.mean((2, 3)) @ first.weight.T + first.bias)
    weight = 1 / (1 + torch.exp(-(squeezed @ second.weight.T + second.bias)))
    torch.testing.assert_close(gate(x), x * weight[:, :, None, None])
    assert (first.out_features, first.in_features) == (8, 32)


FORMULAS = {
    "symmetric": lambda rgb: (rgb - 0.5) / 0.5,
    "imagenet": lambda rgb: (rgb - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225]),
    "lite": lambda rgb: (255 * rgb - 127) / 128,
}


@pytest.mark.parametrize("kind", PIXELS)
@given(rgb=st.tuples(*[st.floats(0, 1, width=32)] * 3))
def test_pixels_follow_their_formula(kind, rgb):
    layer, values = Pixels(kind), torch.tensor(rgb)
    found = layer(values.view(1, 3, 1, 1)).flatten()
    torch.testing.assert_close(found, FORMULAS[kind](values), rtol=1e-5, atol=2e-6)
    assert layer.state_dict() == {}


@given(channels=st.floats(1, 4000))
def test_divisible_is_a_near_multiple_of_eight(channels):
    found = divisible(channels)
    assert found % 8 == 0
    assert found >= 0.9 * channels
    assert found <= max(8, channels + 8)


@settings(max_examples=20)
@given(shape=st.tuples(*[st.integers(1, 9)] * 4))
def test_pool_is_the_mean_over_the_map(shape):
    x = torch.randn(shape)
    torch.testing.assert_close(pool(x), x.flatten(2).sum(2) / (shape[2] * shape[3]))


def test_an_unknown_encoder_is_refused_by_name():
    with pytest.raises(UsageError, match=r"vgg.*mobilenet_v2"):
        build("vgg", 3)
