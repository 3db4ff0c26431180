import copy
import csv
import json
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console
from safetensors.torch import load_file

from avgn.commands.quantize import quantize
from avgn.data.samples import collate, on_device
from avgn.errors import InputError, UsageError
from avgn.network.checkpoint import load_run
from quantize import make
from quantize.qat import FIRST_CLIP, IDENTITY, Scaled, Teaching, Tuning, _settled, claim, relative_error, tune
from quantize.quantizer import _Round, owner, quantizers
from quantize.state import ENCODERS, TENSORS, load_quantised, save_quantised

sys.path.insert(0, str(Path(__file__).parent.parent / "avgn" / "network"))
from by_hand import quantised_by_hand
from noise_clips import CONFIG, Noise

TUNING = Tuning(ENCODERS, features=2, features_batch=4, clips=3, clips_batch=2, rate=0.3, clips_rate=0.3, save_every=2)
QUIET = Console(quiet=True)


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    folder = tmp_path_factory.mktemp("qat")
    quantised_by_hand(folder, CONFIG, ("a", "b", "c"))
    return folder


def teaching(runs, source=None, **changes):
    made = torch.Generator().manual_seed(3)
    shapes = {"frame_encoder": (3, 32, 32), "sound_encoder": (1, 128, 128), "focus_encoder": (3, 32, 32)}
    inputs = {name: torch.rand(12, *shape, generator=made) for name, shape in shapes.items()}
    return Teaching(load_run(runs / "float")[0], inputs, source or Noise(), replace(TUNING, **changes))


def trained(runs, folder, resume=False, **changes):
    folder.mkdir(exist_ok=True)
    return tune(load_quantised(runs / "int8")[0], teaching(runs, **changes), folder, QUIET, resume)


def states(encoders):
    return {f"{name}/{key}": value for name, net in encoders.items() for key, value in net.state_dict().items()}


@torch.no_grad()
def errors_of(task, encoders):
    pairs = {name: (encoders[name](given), getattr(task.teacher, name)(given)) for name, given in task.inputs.items()}
    return {name: float(relative_error(*pair)) for name, pair in pairs.items()}


def test_training_draws_the_maps_towards_float(runs, tmp_path):
    task = teaching(runs)
    start, _ = load_quantised(runs / "int8")
    before = errors_of(task, {name: getattr(start, name) for name in ENCODERS})
    # the other two, untrained and fed with noise, magnify errors too much to tell within a few steps
    after = errors_of(task, trained(runs, tmp_path / "run", features=16, clips=0, rate=0.01))
    assert after["sound_encoder"] < 0.6 * before["sound_encoder"]


def test_only_learners_change_and_their_steps_learn(runs, tmp_path):
    before = load_quantised(runs / "int8")[0]
    after = trained(runs, tmp_path / "run", learners=("sound_encoder",), clips=0)
    same = states({name: _settled(copy.deepcopy(getattr(before, name))) for name in ENCODERS})
    changed = {key.split("/")[0] for key, value in states(after).items() if not torch.equal(value, same[key])}
    assert changed == {"sound_encoder"}
    for name in ENCODERS:
        then, now = (
            {place: hook.spec.step for place, hook in quantizers(net).items() if not hook.is_weight}
            for net in (getattr(before, name), after[name])
        )
        assert then.keys() == now.keys() and (then != now) == (name == "sound_encoder")
    assert not any(parameter.requires_grad for net in after.values() for parameter in net.parameters())


def test_the_gradient_of_a_step_is_that_of_lsq():
    """Where nothing is clamped, rounded minus unrounded, in steps; where it is, the end (Esser 2020, formula 3)."""
    x, step = torch.linspace(-1, 1, 41, dtype=torch.float32), torch.tensor(0.13, requires_grad=True)
    for value in x:
        (found,) = torch.autograd.grad(_Round.apply(value.requires_grad_(), step, -3, 5), step)
        steps = float(value.detach()) / 0.13
        wanted = -3 if steps < -3.5 else 5 if steps > 5.5 else round(steps) - steps
        assert float(found) == pytest.approx(wanted, abs=1e-4)


def test_a_killed_training_resumes_to_the_same_weights(runs, tmp_path):
    whole = states(trained(runs, tmp_path / "whole"))
    with pytest.raises(KeyboardInterrupt):
        trained(runs, tmp_path / "killed", source=Noise(fails_at=FIRST_CLIP + 5))
    resumed = states(trained(runs, tmp_path / "killed", resume=True))
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)
    with (tmp_path / "killed" / "metrics-clips.csv").open() as file:
        assert {"answer", "saliency", "task", "frame_encoder"} <= set(next(csv.DictReader(file)))


def test_what_was_trained_is_stored_as_int8_and_comes_back_exactly(runs, tmp_path):
    folder = tmp_path / "run"
    encoders = trained(runs, folder)
    before, _ = load_quantised(runs / "int8")
    save_quantised(folder, runs / "float", encoders, "by a test", ("metrics-clips.csv", "tensorboard"))
    model, _ = load_quantised(folder)
    for name in ENCODERS:
        for place, hook in quantizers(encoders[name]).items():
            if hook.is_weight:
                now, then = (owner(net, place).weight for net in (encoders[name], getattr(before, name)))
                assert not torch.equal(hook.stored(now), hook.stored(then))
                assert torch.equal(hook(now), now)
    loaded = {name: getattr(model, name) for name in ENCODERS}
    found, wanted = states(loaded), states(encoders)
    assert all(torch.equal(found[key], wanted[key]) for key in wanted)
    stored = load_file(folder / TENSORS)
    assert sum(value.dtype == torch.int8 for value in stored.values()) == len(ENCODERS)  # one layer of each
    assert (folder / "metrics-clips.csv").is_file() and not list(folder.glob("state-*"))


def test_what_is_float_stays_as_it_was(runs, tmp_path):
    folder = tmp_path / "run"
    save_quantised(folder, runs / "float", trained(runs, folder), "by a test")
    float_run, same = load_run(runs / "float")[0], load_run(folder)[0]
    assert all(torch.equal(value, same.state_dict()[key]) for key, value in float_run.state_dict().items())
    batch = on_device(collate([Noise().sample(0)])[0], torch.device("cpu"))
    assert not torch.equal(load_quantised(folder)[0](batch), float_run(batch))


def test_a_loss_that_is_not_finite_ends_the_training(runs, tmp_path):
    task = teaching(runs)
    task.inputs["sound_encoder"][:] = float("nan")
    with pytest.raises(InputError, match="sound_encoder is not finite"):
        tune(load_quantised(runs / "int8")[0], task, tmp_path, QUIET, False)


def test_another_training_is_not_resumed(runs, tmp_path):
    claim(tmp_path, teaching(runs), "run", 8)
    claim(tmp_path, teaching(runs), "run", 8)
    for other in (
        lambda: claim(tmp_path, teaching(runs, clips=9), "run", 8),
        lambda: claim(tmp_path, teaching(runs), "x", 8),
    ):
        with pytest.raises(InputError, match="another run, or with other settings"):
            other()
    assert (tmp_path / IDENTITY).is_file()


@pytest.mark.parametrize("wrong", [{"features": -1}, {"rate": 0.0}, {"clips_batch": 0}, {"learners": ("fusion",)}])
def test_settings_out_of_range_are_refused(runs, tmp_path, wrong):
    with pytest.raises(UsageError, match="--qat"):
        make.with_training(make.Job(runs / "float", tmp_path / "out", Noise(), 8, "noise"), wrong, False, QUIET)


def test_a_finished_training_is_not_resumed(runs):
    with pytest.raises(UsageError, match="finished"):
        make.with_training(make.Job(runs / "float", runs / "int8", Noise(), 8, "noise"), {}, True, QUIET)


def test_units_leave_values_as_they_are():
    scaled, value = Scaled(torch.tensor([[0.25], [2.0]])), torch.tensor([[1.0, -3.0], [4.0, 5.0]])
    assert torch.equal(scaled(scaled.right_inverse(value)), value)


def test_a_killed_command_goes_on_and_leaves_a_finished_run(runs, tmp_path, monkeypatch):
    model, _ = load_quantised(runs / "int8")
    by_hand = {name: getattr(model, name) for name in ENCODERS}
    monkeypatch.setattr(make, "quantise_encoders", lambda *_: by_hand)  # NNCF would take minutes
    monkeypatch.setattr(make, "_JUDGED", 8)
    settings = {
        "learners": ENCODERS,
        "inputs_of": 8,
        "features": 1,
        "features_batch": 2,
        "clips": 2,
        "clips_batch": 1,
        "save_every": 1,
    }
    job = make.Job(runs / "float", tmp_path / "out", Noise(fails_at=FIRST_CLIP + 1), 8, "noise", True)
    with pytest.raises(KeyboardInterrupt):
        make.with_training(job, settings, False, QUIET)
    assert "without training" in json.loads((job.out / "quantisation.json").read_text())["made"]
    load_quantised(job.out)  # a valid run meanwhile
    with pytest.raises(InputError, match="other settings"):
        make.with_training(job, settings | {"clips": 3}, True, QUIET)
    found = make.with_training(replace(job, source=Noise()), settings, True, QUIET)
    assert found.clips == 8 and set(found.relative_rms) == set(ENCODERS)
    assert "trained with quantisers, 1 steps of 2" in json.loads((job.out / "quantisation.json").read_text())["made"]
    names = {path.name for path in job.out.iterdir()}
    assert {"metrics-features.csv", "metrics-clips.csv", "sensitivity.md"} <= names
    assert not any(name == IDENTITY or name.startswith("state-") for name in names)


def test_material_of_other_classes_is_refused(runs, tmp_path, monkeypatch):
    monkeypatch.setattr("avgn.data.source.open_source", lambda *_: Noise(labels=("x", "y", "z")))
    with pytest.raises(InputError, match="its classes are not those"):
        quantize(runs / "float", Path("material"), tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_options_of_training_are_refused_without_it(runs, tmp_path):
    with pytest.raises(UsageError, match="--qat"):
        quantize(runs / "float", Path("material"), tmp_path / "out", resume=True)
