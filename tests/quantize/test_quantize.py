import copy
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import openvino
import pytest
import torch
from torch import nn

from avgn.errors import InputError
from export.to_openvino import int8_share
from quantize.calibration import batches, collect
from quantize.layerwise import correct_biases, inputs_of, round_weights
from quantize.ptq import HALF, fuse_norms, quantise
from quantize.quantizer import Quantizer, Spec, install, owner, quantizers, spelled
from quantize.ranges import asymmetric, fit_ranges, spanning

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import batch, network


class Tiny(nn.Module):
    """A convolution, a depthwise one and a pointwise one, with norms."""

    def __init__(self):
        super().__init__()
        torch.manual_seed(0)
        self.features = nn.Sequential(
            nn.Conv2d(3, 8, 3, padding=1, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 8, 3, padding=1, groups=8, bias=False),
            nn.BatchNorm2d(8),
            nn.ReLU6(),
            nn.Conv2d(8, 16, 1, bias=False),
            nn.BatchNorm2d(16),
            nn.ReLU(),
        )

    def forward(self, x):
        return self.features(x)


@pytest.fixture(scope="module")
def tiny():
    made = torch.Generator().manual_seed(1)
    seen = [torch.rand(4, 3, 16, 16, generator=made) for _ in range(8)]
    net = Tiny().train()
    for part in net.modules():
        if isinstance(part, nn.BatchNorm2d):
            part.momentum = None  # statistics of what it sees, so that signals keep their size
    net(torch.cat(seen))
    return net.eval(), seen, quantise(net, seen)


def relative_rms(found, wanted):
    return float((found - wanted).square().mean().sqrt() / wanted.square().mean().sqrt())


def by_hand(x, step, zero, low, high):
    stored = np.clip(np.rint(x / np.float32(step)) + zero, low, high)  # rint takes halves to the even side
    return ((stored - zero) * np.float32(step)).astype(np.float32)


@pytest.mark.parametrize("spelling", ["plain", "fake", "unsigned", "unfolded"])
@pytest.mark.parametrize(("step", "zero", "low", "high"), [(0.5, 3, -128, 127), (0.25, -128, -128, 127)])
def test_activations_round_half_to_even_and_are_clamped(spelling, step, zero, low, high):
    hook = Quantizer(Spec("pre_hooks.x/conv2d/0__0.0", low, high, step, zero))
    hook.spelling = spelling
    x = torch.cat([torch.arange(-300, 300) * step / 2, torch.tensor([1e6, -1e6])])
    wanted = by_hand(x.numpy(), step, zero, low, high)
    np.testing.assert_array_equal(hook(x).numpy(), wanted)
    np.testing.assert_array_equal((hook.stored(x).float().numpy() - zero) * step, wanted)
    hook.on = False
    assert hook(x) is x


def test_rounding_in_pytorch_is_that_of_its_operator_with_its_gradient():
    x = 3 * torch.randn(100_000, generator=torch.Generator().manual_seed(0))
    hook, found = Quantizer(Spec("pre_hooks.x/conv2d/0__0.0", -128, 127, 0.0235294, -28)), {}
    for spelling in ("plain", "fake"):
        hook.spelling, given = spelling, x.clone().requires_grad_()
        hook(given).square().sum().backward()
        found[spelling] = hook(x), given.grad
    assert all(torch.equal(*pair) for pair in zip(*found.values(), strict=True))
    assert 0 < float((found["plain"][1] == 0).float().mean()) < 0.9


def test_weights_are_rounded_channel_by_channel():
    hook = Quantizer(Spec("pre_hooks.x/conv2d/0__1.0", *HALF, axis=0), 2)
    hook.steps.copy_(torch.tensor([0.1, 2.0]))
    weight = torch.tensor([[0.26, -9.0], [5.0, 300.0]])
    found = hook(weight).numpy()
    for row, step in enumerate((0.1, 2.0)):
        np.testing.assert_allclose(found[row], by_hand(weight[row].numpy(), step, 0, *HALF), rtol=1e-6)
    assert hook.stored(weight).tolist() == [[3, -64], [2, 63]]


@pytest.mark.parametrize("wrong", [{"low": 5, "high": 5}, {"zero_point": 200}, {"step": 0.0}, {"axis": 0}])
def test_a_spec_that_means_nothing_is_refused(wrong):
    with pytest.raises(ValueError):
        replace(Spec("x", -128, 127, 0.1), **wrong)


def test_zero_has_a_value_of_its_own():
    spec = asymmetric("x", -0.375, 3.0)
    assert float(Quantizer(spec)(torch.zeros(1))) == 0 and -128 <= spec.zero_point <= 127


def test_norms_are_folded_without_a_change(tiny):
    net, seen, _ = tiny
    folded = fuse_norms(copy.deepcopy(net))
    assert not any(isinstance(part, nn.BatchNorm2d) for part in folded.modules())
    torch.testing.assert_close(folded(seen[0]), net(seen[0]), rtol=1e-4, atol=1e-5)
    with pytest.raises(InputError, match="batch norm"):
        fuse_norms(nn.Sequential(nn.BatchNorm2d(3)))


def test_no_two_products_leave_sixteen_bits(tiny):
    _, _, found = tiny
    weights = {place: hook for place, hook in quantizers(found).items() if hook.is_weight}
    assert len(weights) == 3
    for place, hook in weights.items():
        layer = owner(found, place)
        most = int(hook.stored(layer.weight).int().abs().max())
        if layer.groups == 1:
            assert 2 * 255 * most <= 2**15 and hook.spec.low == -64
        else:
            assert most <= 127


def test_every_spelling_computes_the_same(tiny):
    net, seen, found = tiny
    wanted, x = found(seen[0]).detach(), seen[0]
    assert relative_rms(wanted, net(x).detach()) < 0.1
    for spelling in ("folded", "unsigned", "unfolded"):  # a tie that is rounded apart moves few values, by a step or so
        other = spelled(found, spelling)(x).detach()
        assert relative_rms(other, wanted) < 0.01 and float((other != wanted).float().mean()) < 0.01
        assert torch.equal(other, spelled(found, "fake")(x).detach())


def test_openvino_computes_it_in_int8_within_a_step(tiny, tmp_path):
    _, seen, found = tiny
    x = seen[0][:1]
    model = openvino.convert_model(torch.export.export(spelled(found, "fake"), (x,)))
    model.reshape([1, 3, 16, 16])
    openvino.save_model(model, tmp_path / "tiny.xml", compress_to_fp16=False)
    parts = {end: (tmp_path / f"tiny{end}").read_bytes() for end in (".xml", ".bin")}
    assert int8_share(parts) > 0.99
    answer = openvino.Core().compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})(x.numpy())[0]
    wanted = found(x).detach().numpy()
    steps = np.abs(answer - wanted) / max(hook.spec.step for hook in quantizers(found).values() if not hook.is_weight)
    assert steps.max() < 1.5 and np.mean(steps > 0.5) < 0.05


def test_a_float_graph_does_not_pass_as_int8(tiny, tmp_path):
    net, seen, _ = tiny
    openvino.save_model(
        openvino.convert_model(net, example_input=seen[0][:1], input=[1, 3, 16, 16]), tmp_path / "f.xml"
    )
    assert int8_share({end: (tmp_path / f"f{end}").read_bytes() for end in (".xml", ".bin")}) == 0


def test_corrected_biases_keep_the_mean_of_each_channel(tiny):
    net, seen, found = tiny
    x, last = torch.cat(seen), "features.6"
    found = copy.deepcopy(found)
    found.get_submodule(last).bias.data += 0.3
    correct_biases(found, fuse_norms(copy.deepcopy(net)), seen)
    for name in ("features.3", last):
        means = []
        for model in (found, fuse_norms(copy.deepcopy(net))):
            note = lambda _, __, output, means=means: means.append(output.detach().mean((0, 2, 3)))  # noqa: E731
            with model.get_submodule(name).register_forward_hook(note):
                model(x)
        torch.testing.assert_close(*means, rtol=0, atol=1e-4)


def test_weights_are_rounded_for_what_the_layers_before_really_give(tiny):
    net, seen, found = tiny
    plain, seen = fuse_norms(copy.deepcopy(net)), [nn.functional.avg_pool2d(x, 3, 1, 1) for x in seen]
    x = torch.cat(seen)  # neighbours are alike, as in pictures
    wanted, errors = net(x).detach(), []
    for put_right in (correct_biases, round_weights):
        tried = copy.deepcopy(found)
        for name, layer in plain.named_modules():
            if isinstance(layer, nn.Conv2d):
                tried.get_submodule(name).load_state_dict(layer.state_dict())
        weights = {place: hook for place, hook in quantizers(tried).items() if hook.is_weight}
        for hook in weights.values():
            hook.steps *= 8  # so coarse that rounding counts beside activations
        put_right(tried, plain, seen)
        errors.append(relative_rms(tried(x).detach(), wanted))
    assert errors[1] < 0.9 * errors[0]
    for place, hook in weights.items():  # nothing is left for the quantiser to round
        weight = owner(tried, place).weight.detach()
        torch.testing.assert_close(hook(weight), weight, rtol=0, atol=1e-6)


def test_a_layer_is_shown_what_it_is_given(tiny):
    net, seen, _ = tiny
    shown = inputs_of(net, torch.cat(seen), "features.3")
    torch.testing.assert_close(shown, net.features[:3](torch.cat(seen)))


def test_a_stem_in_float_computes_as_before(tiny):
    net, seen, _ = tiny
    found = quantise(net, seen, stem=3)
    owners = [owner(found, place) for place, hook in quantizers(found).items() if hook.is_weight]
    assert owners == [found.features[3], found.features[6]]
    kept = [place for place, hook in quantizers(found).items() if not hook.is_weight]
    assert any("features/2" in place for place in kept) and not any(place.endswith("x__0.0") for place in kept)
    given = inputs_of(found, seen[0], "features.3")  # rounded once, by the only quantiser before it
    hook = next(hook for place, hook in quantizers(found).items() if "features/2" in place)
    assert torch.equal(given, hook(fuse_norms(copy.deepcopy(net)).features[:3](seen[0])))


def test_ranges_hold_what_was_seen_where_nothing_is_rare(tiny):
    _, seen, found = tiny
    found = copy.deepcopy(found)
    fit_ranges(found, seen)
    assert all(hook.on for hook in quantizers(found).values())
    image = quantizers(found)["post_hooks.x__0.0"].spec
    top = max(float(batch.abs().max()) for batch in seen)
    assert 0.9 * top < image.step * (image.high - image.zero_point) < 1.05 * top


def test_what_hard_swish_makes_zero_of_takes_no_steps():
    net = Tiny().eval()
    net.features[2] = nn.Hardswish()
    place = "pre_hooks.features/2/hardswish/0__0.0"
    install(fuse_norms(net), [asymmetric(place, -1.0, 2.0)])
    with torch.no_grad():
        net.features[0].weight[:] = 0
        net.features[0].bias[:] = torch.linspace(-20, 5, 8)
        fit_ranges(net, [torch.zeros(4, 3, 8, 8)])
    spec = quantizers(net)[place].spec
    assert spec.step * (spec.low - spec.zero_point) == pytest.approx(-3, abs=spec.step)
    assert spec.step * (spec.high - spec.zero_point) == pytest.approx(5, abs=spec.step)


def test_a_rare_giant_does_not_coarsen_the_steps():
    net = install(fuse_norms(Tiny().eval()), [Spec("pre_hooks.features/0/conv2d/0__0.0", -128, 127, 1.0, 0)])
    x = torch.randn(16, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    x[0, 0, 0, 0] = 8.0
    fit_ranges(net, [x])
    spec = next(iter(quantizers(net).values())).spec
    tried = [spanning(spec, -share * 8.0, share * 8.0) for share in (0.2, 1.0)]
    error = [float((Quantizer(each)(x) - x).square().sum()) for each in (spec, *tried)]
    assert error[0] <= min(error) and spec.step < 8.0 / 127


def test_too_few_or_broken_inputs_are_refused(tiny):
    net, seen, _ = tiny
    with pytest.raises(InputError, match="too few"):
        quantise(net, seen[:2])
    with pytest.raises(InputError, match="not finite"):
        quantise(net, [*seen, seen[0] * float("nan")])
    with pytest.raises(InputError, match="clips are too few"):
        batches([])


def test_a_place_that_is_not_there_is_named():
    with pytest.raises(InputError, match="nowhere"):
        install(Tiny(), [Spec("pre_hooks.nowhere:0/conv2d/0__1.0", *HALF, axis=0)])


def test_each_encoder_is_given_what_it_sees_at_run_time():
    model = network()
    seen = collect(model, [batch(1, seed=number) for number in range(2)])
    shapes = {name: tuple(given[0].shape) for name, given in seen.inputs.items()}
    assert shapes["frame_encoder"] == (4, 3, 64, 64) and shapes["focus_encoder"] == (2, 3, 64, 64)
    assert shapes["sound_encoder"][:2] == (4, 1) and len(seen.labels) == 2
