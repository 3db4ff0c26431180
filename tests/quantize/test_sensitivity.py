import copy
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avgn.network.checkpoint import load_run
from quantize import sensitivity
from quantize import shares as work
from quantize.heads import quantised_layers
from quantize.ptq import fuse_norms
from quantize.quantizer import owner, quantizers
from quantize.sensitivity import Report, costs_of, fall_back, relative_rms, without, write_report
from quantize.shares import float_stems, int8_layers, int8_shares, work_shares
from quantize.state import ENCODERS, HEADS, load_quantised, save_quantised

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from small import SMALL

from by_hand import quantised_by_hand

CONFIG = replace(SMALL, snippets=2, chosen=1, classes=3, frame=replace(SMALL.frame, size=32))
CONFIG = replace(CONFIG, patch=replace(CONFIG.patch, size=32, short_side=40))
SHAPES = {"frame_encoder": (3, 32, 32), "sound_encoder": (1, 128, 128), "focus_encoder": (3, 32, 32)}


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A run, its encoders of which the focus net's weights have far too large steps, and inputs."""
    folder = tmp_path_factory.mktemp("runs")
    quantised_by_hand(folder, CONFIG, ("a", "b", "c"))
    made = torch.Generator().manual_seed(0)
    seen = {name: [torch.rand(4, *shape, generator=made)] for name, shape in SHAPES.items()}
    model = load_quantised(folder / "int8")[0]
    encoders = {name: getattr(model, name) for name in ENCODERS}
    for hook in quantizers(encoders["focus_encoder"]).values():
        if hook.is_weight:
            hook.steps *= 20
    return folder, load_run(folder / "float")[0], encoders, seen


def test_a_cost_is_what_its_quantiser_adds(case):
    _, model, encoders, seen = case
    ticks = []
    costs = costs_of(model, encoders, seen, lambda: ticks.append(1))
    assert len(costs) == len(ticks) == 6
    assert (costs[0].encoder, costs[0].weights, costs[0].layer) == ("focus_encoder", True, "features.0.0")
    net, given = copy.deepcopy(encoders["focus_encoder"]), seen["focus_encoder"][0]
    quantizers(net)[costs[0].place].on = False
    layer, means = net.get_submodule("features.0.0"), []
    with torch.no_grad():
        wanted = model.focus_encoder(given)
        for whole, part in ((net, layer), (model.focus_encoder, model.focus_encoder.get_submodule("features.0.1"))):
            handle = part.register_forward_hook(lambda _, __, output: means.append(output.mean((0, 2, 3))))
            whole(given)
            handle.remove()
        layer.bias += means[1] - means[0]  # a bias that was corrected for rounded weights is wrong for others
        error = float((net(given) - wanted).norm() / wanted.norm())
    assert all(hook.on for net in encoders.values() for hook in quantizers(net).values())
    assert costs[0].without == pytest.approx(error, rel=1e-3) and costs[0].error > error


def test_a_layer_that_wins_nothing_after_others_stays_in_int8(case, monkeypatch):
    _, model, encoders, seen = case
    monkeypatch.setattr(sensitivity, "LEAST_SHARE", 0.0)
    costs = [replace(cost, without=0.0) for cost in costs_of(model, encoders, seen, lambda: None)]
    monkeypatch.setattr(sensitivity, "without", lambda net, *_: broken(net))
    _, steps = fall_back(model, encoders, seen, costs, 0.0)
    assert [step.layer for step in steps] == ["none"]


def broken(net):
    made = copy.deepcopy(net)
    for parameter in made.parameters():
        parameter.data *= -5
    return made


def test_shares_are_of_all_the_work_of_a_stage(case):
    _, model, encoders, seen = case
    shares = work_shares(model, seen)
    assert sum(shares["focus_encoder"].values()) == pytest.approx(1.0)
    assert 0.5 < sum(shares["frame_encoder"].values()) + sum(shares["sound_encoder"].values()) < 1.0
    found = int8_shares(int8_layers(model, encoders), shares)
    assert found["focus"] == pytest.approx(shares["focus_encoder"]["features.0.0"])
    first = shares["frame_encoder"]["features.0.0"] + shares["sound_encoder"]["features.0.0"]
    heads = sum(shares[name][layer] for name in HEADS for layer in quantised_layers(getattr(model, name)))
    assert heads > 0 and found["glance"] == pytest.approx(first + heads)  # the heads will be in int8


def test_a_layer_goes_back_to_the_weights_of_the_float_net(case):
    """Not to those that rounding made of them, which are what a quantised net holds."""
    _, model, encoders, seen = case
    net, given = copy.deepcopy(encoders["focus_encoder"]), seen["focus_encoder"][0]
    plain = fuse_norms(copy.deepcopy(model.focus_encoder))
    place, hook = next((place, hook) for place, hook in quantizers(net).items() if hook.is_weight)
    layer = owner(net, place)
    layer.weight.data = hook(layer.weight.detach())
    found = without(net, place, plain, given).get_submodule("features.0.0")
    assert torch.equal(found.weight, plain.get_submodule("features.0.0").weight)
    assert not torch.equal(found.weight, layer.weight)


def test_a_stem_stays_in_float_as_far_as_the_share_allows(case, monkeypatch):
    _, model, _, seen = case
    shares = work_shares(model, seen)
    layers = int8_layers(model, {}) | {name: set(shares[name]) for name in ENCODERS}
    full = int8_shares(layers, shares)["glance"]
    blocks = [sum(v for k, v in shares["sound_encoder"].items() if k.startswith(f"features.{n}.")) for n in range(5)]
    for least, wanted in ((0.0, 5), (full - sum(blocks[:2]) - 1e-6, 2), (1.0, 0)):
        monkeypatch.setattr(work, "LEAST_SHARE", least)
        assert float_stems(model, shares) == {"sound_encoder": wanted}


def test_the_worst_layer_goes_back_to_float(case, monkeypatch, tmp_path):
    folder, model, encoders, seen = case
    monkeypatch.setattr(sensitivity, "LEAST_SHARE", 0.0)
    costs = costs_of(model, encoders, seen, lambda: None)
    least = max(cost.error for cost in costs if cost.encoder != "focus_encoder")
    made, steps = fall_back(model, encoders, seen, costs, least)
    assert [step.layer for step in steps[:2]] == ["none", "focus_encoder.features.0.0"]
    assert steps[-1].errors["focus_encoder"] < 0.8 * steps[0].errors["focus_encoder"]
    assert steps[-1].int8["focus"] == pytest.approx(0, abs=1e-6) and steps[-1].int8["glance"] == steps[0].int8["glance"]
    assert len(quantizers(made["focus_encoder"])) == 1 and len(quantizers(encoders["focus_encoder"])) == 2
    save_quantised(tmp_path / "run", folder / "float", made, "by a test")
    again, given = load_quantised(tmp_path / "run")[0], seen["focus_encoder"][0]
    assert torch.equal(again.focus_encoder(given), made["focus_encoder"](given))
    with torch.no_grad():
        wanted = model.focus_encoder(given)
    assert relative_rms(again.focus_encoder, given, wanted) == pytest.approx(steps[-1].errors["focus_encoder"])


def test_nothing_goes_back_where_too_little_work_would_stay_in_int8(case):
    _, model, encoders, seen = case
    costs = costs_of(model, encoders, seen, lambda: None)
    made, steps = fall_back(model, encoders, seen, costs, 0.0)  # one int8 layer is far below LEAST_SHARE already
    assert [step.layer for step in steps] == ["none"]
    assert all(len(quantizers(net)) == 2 for net in made.values())


def test_the_report_names_the_worst_and_the_trade(case, tmp_path, monkeypatch):
    _, model, encoders, seen = case
    monkeypatch.setattr(sensitivity, "LEAST_SHARE", 0.0)
    costs = costs_of(model, encoders, seen, lambda: None)
    steps = fall_back(model, encoders, seen, costs, 0.01)[1]
    write_report(Report(4, tuple(costs), tuple(steps)), tmp_path)
    found = json.loads((tmp_path / "sensitivity.json").read_text())
    assert found["costs"][0]["encoder"] == "focus_encoder" and found["steps"][0]["layer"] == "none"
    text = (tmp_path / "sensitivity.md").read_text()
    assert "| focus_encoder | features.0.0 | weights |" in text and "int8 in focus %" in text
    assert (tmp_path / "sensitivity.png").stat().st_size > 10_000
