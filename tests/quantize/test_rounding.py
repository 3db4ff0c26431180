"""Weights rounded for what their layer is given, against rounding each for itself and against all there is to try."""

from __future__ import annotations

import itertools

import pytest
import torch
import torch.nn.functional as F
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from quantize.ptq import HALF
from quantize.quantizer import Quantizer, Spec
from quantize.rounding import compensated, covariances, round_layer


def moments_of(inputs):
    return (inputs.T @ inputs / len(inputs))[None]


def loss(rows, wanted, moments):
    change = (rows - wanted).double()
    return float(torch.einsum("gok,gkl,gol->", change, moments, change))


def related(random, rows, columns):
    """Inputs that have much in common, as neighbouring channels have."""
    shared = torch.randn(rows, 1, generator=random, dtype=torch.float64)
    return shared + 0.3 * torch.randn(rows, columns, generator=random, dtype=torch.float64)


def test_inputs_of_their_own_leave_rounding_to_the_nearest():
    rows = torch.randn(1, 5, 7) * 4
    assert torch.equal(compensated(rows, torch.eye(7, dtype=torch.float64)[None], -64, 63), rows.round())


def test_what_is_whole_already_stays():
    rows = torch.randint(-64, 64, (2, 3, 6)).float()
    moments = torch.stack([moments_of(torch.randn(20, 6).double())[0] for _ in range(2)])
    assert torch.equal(compensated(rows, moments, -64, 63), rows)


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**31), st.integers(2, 12), st.integers(1, 6))
def test_outputs_are_no_worse_than_with_the_nearest(seed, columns, outputs):
    random = torch.Generator().manual_seed(seed)
    moments = moments_of(related(random, 40, columns))
    rows = 8 * torch.randn(1, outputs, columns, generator=random)
    found = compensated(rows, moments, -64, 63)
    assert torch.equal(found, found.round()) and found.min() >= -64 and found.max() <= 63
    assert loss(found, rows, moments) <= loss(rows.round().clamp(-64, 63), rows, moments) + 1e-9


def test_it_comes_near_the_best_of_all_roundings():
    random = torch.Generator().manual_seed(3)
    losses = []
    for _ in range(20):
        moments = moments_of(related(random, 40, 6))
        rows = 8 * torch.randn(1, 1, 6, generator=random)
        down = rows.floor()
        best = min(loss(down + torch.tensor(up).float(), rows, moments) for up in itertools.product((0, 1), repeat=6))
        nearest = loss(rows.round(), rows, moments)
        found = loss(compensated(rows, moments, -64, 63), rows, moments)
        losses.append((best, found, nearest))
    best, found, nearest = (sum(values) for values in zip(*losses, strict=True))
    assert best <= found + 1e-9 and nearest - found > 0.6 * (nearest - best)  # of what trying all 64 would win


@pytest.mark.parametrize(
    "layer",
    [
        nn.Conv2d(32, 24, 3, stride=2, padding=1, bias=False),
        nn.Conv2d(32, 32, 3, padding=1, groups=32, bias=False),
        nn.Conv2d(32, 24, 1, bias=False),
        nn.Linear(32, 24, bias=False),
    ],
    ids=["whole", "depthwise", "1x1", "linear"],
)
def test_every_layer_errs_less_on_its_inputs(layer):
    torch.manual_seed(0)
    layer.reset_parameters()
    random = torch.Generator().manual_seed(0)
    shape = (64, 32) if isinstance(layer, nn.Linear) else (16, 32, 9, 9)
    inputs = torch.randn(*shape[:1], 1, *shape[2:], generator=random) + 0.3 * torch.randn(shape, generator=random)
    if isinstance(layer, nn.Conv2d) and layer.groups > 1:
        inputs = F.avg_pool2d(inputs, 3, 1, 1)  # a depthwise layer adds neighbours, which are alike here
    hook = Quantizer(Spec("pre_hooks.x/conv2d/0__1.0", *HALF, axis=0), len(layer.weight))
    hook.steps.copy_(layer.weight.detach().flatten(1).abs().amax(1) / 10)
    wanted, weight = layer(inputs).detach(), layer.weight.detach().clone()
    errors = []
    for tried in (hook(weight), round_layer(layer, hook, inputs)):
        layer.weight.data = tried
        off = (layer(inputs) - wanted).detach().transpose(0, 1).flatten(1)
        errors.append(float(off.var(1, correction=0).mean()))  # a bias makes up for the mean
    assert errors[1] < 0.7 * errors[0]
    assert torch.allclose(hook(layer.weight), layer.weight.detach(), atol=1e-6)  # it lies on the grid


def test_covariances_are_those_of_the_products():
    layer, inputs = nn.Conv2d(4, 6, 3, stride=2, padding=1, groups=2), torch.randn(3, 4, 7, 7)
    moments = covariances(layer, inputs)
    output = F.conv2d(inputs, layer.weight, None, 2, 1, 1, 2).detach().double()
    power = output.transpose(0, 1).flatten(1).var(1, correction=0)
    rows = layer.weight.detach().double().reshape(2, 3, -1)
    torch.testing.assert_close(torch.einsum("gok,gkl,gol->go", rows, moments, rows).flatten(), power)


def test_inputs_that_are_always_zero_do_no_harm():
    rows = 8 * torch.randn(1, 2, 4)
    assert torch.equal(compensated(rows, torch.zeros(1, 4, 4).double(), -64, 63), rows.round().clamp(-64, 63))
