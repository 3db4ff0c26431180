"""Folding batch norms and rounding weights: the function stays, and fp16 loses nothing."""

from __future__ import annotations

import copy
from pathlib import Path

import pytest
import torch
from small import SMALL
from torch import nn

from avgn.errors import InputError
from avgn.network import encoders
from avgn.network.avgn import AVGN
from avgn.network.checkpoint import load_run, new_run, save_run
from avgn.network.fold import fold_norms, round_to_half


def _trained_like(net: nn.Module) -> nn.Module:
    """Norms with statistics and weights unlike those of a fresh net."""
    torch.manual_seed(3)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.2)
            module.running_mean.normal_(0, 0.2)
            module.running_var.uniform_(0.5, 2.0)
    return net.eval()


@pytest.mark.parametrize("name", ["mobilenet_v2", "mn04", "resnet50", "efficientnet_lite0"])
def test_folding_keeps_the_function(name: str) -> None:
    net = _trained_like(encoders.build(name, 3)).double()
    folded = copy.deepcopy(net)
    fold_norms(folded)
    image = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    torch.testing.assert_close(folded(image), net(image), rtol=1e-9, atol=1e-9)
    for module in folded.modules():
        if isinstance(module, nn.BatchNorm2d):
            assert (module.weight == 1).all() and (module.running_mean == 0).all()


def test_a_folded_net_can_be_folded_again() -> None:
    net = _trained_like(encoders.build("mn04", 1)).double()
    fold_norms(net)
    image = torch.rand(1, 1, 64, 64, dtype=torch.float64)
    before = net(image)
    fold_norms(net)
    torch.testing.assert_close(net(image), before, rtol=1e-12, atol=1e-12)


def test_rounded_parameters_are_those_of_fp16() -> None:
    net = encoders.build("mobilenet_v2", 3)
    round_to_half(net)
    assert all(torch.equal(parameter.half().float(), parameter) for parameter in net.parameters())


def test_what_cannot_be_done_is_said() -> None:
    with pytest.raises(InputError, match="0 is a batch norm that follows no convolution"):
        fold_norms(nn.Sequential(nn.BatchNorm2d(3)))
    net = nn.Linear(2, 2)
    nn.init.constant_(net.weight, 1e6)
    with pytest.raises(InputError, match="weight holds values that fp16 cannot hold"):
        round_to_half(net)


def test_a_rounded_run_takes_half_the_space_and_comes_back_exactly(tmp_path: Path) -> None:
    model = _trained_like(AVGN(SMALL))
    labels = tuple(f"class {number}" for number in range(SMALL.classes))
    save_run(tmp_path / "whole", model, new_run(SMALL, labels))
    fold_norms(model)
    round_to_half(model)
    save_run(tmp_path / "half", model, new_run(SMALL, labels))
    loaded, _ = load_run(tmp_path / "half")
    for name, value in model.state_dict().items():
        assert torch.equal(loaded.state_dict()[name], value), name
    sizes = [(tmp_path / folder / "model.safetensors").stat().st_size for folder in ("whole", "half")]
    assert sizes[1] < 0.55 * sizes[0]
