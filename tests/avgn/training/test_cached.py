"""Heads trained on cached clips see the very losses that they would see on the clips themselves."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from avgn.data.samples import collate, on_device
from avgn.errors import InputError, UsageError
from avgn.network.avgn import AVGN
from avgn.network.checkpoint import load_dense, load_run, read_run
from avgn.network.dense import Dense
from avgn.training.branches import run_branches
from avgn.training.cached import Given, cached_clips, fed
from avgn.training.dense import dense_losses
from avgn.training.losses import LossWeights, losses
from avgn.training.train import Job, train
from avgn.training.variations import ENCODERS

sys.path.insert(0, str(Path(__file__).parent))
from test_train import CONFIG, RECIPE, Noise

CPU = torch.device("cpu")
FROZEN = replace(RECIPE, frozen=ENCODERS, steps=4)
DENSE = replace(CONFIG, chosen=CONFIG.snippets)


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    return AVGN(CONFIG).eval()


@pytest.fixture(scope="module")
def clips(model, tmp_path_factory):
    return cached_clips(tmp_path_factory.mktemp("cache"), model, Noise(), 4, 0, lambda done: None)


def of(net, samples):
    batch, truth = collate(samples)
    batch = on_device(batch, CPU)
    torch.manual_seed(1)
    if isinstance(net, Dense):
        return dense_losses(net, batch, truth, RECIPE)
    return losses(run_branches(net, batch), truth, LossWeights(true_saliency=1.0), "expectation")


def test_losses_are_those_of_the_clips_themselves(model, clips):
    straight = of(model, [Noise().sample(index) for index in range(3)])
    with fed(model):
        assert isinstance(model.frame_encoder, Given)
        cached = of(model, [clips.clip(index) for index in range(3)])
    assert not isinstance(model.frame_encoder, Given)
    for name, value in straight.items():
        assert cached[name].item() == pytest.approx(value.item(), rel=2e-3, abs=1e-4), name  # maps are kept in fp16


def test_the_dense_net_is_fed_too(tmp_path):
    torch.manual_seed(0)
    net = Dense(DENSE).eval()
    clips = cached_clips(tmp_path, net, Noise(), 2, 0, lambda done: None)
    straight = of(net, [Noise().sample(index) for index in range(2)])
    with fed(net):
        cached = of(net, [clips.clip(index) for index in range(2)])
    assert cached["total"].item() == pytest.approx(straight["total"].item(), rel=2e-3)


def test_every_epoch_holds_each_clip_once_in_another_order(clips):
    clips = replace(clips, arrays=clips.arrays | {"label": torch.arange(4).numpy()})
    epochs = [[clips.sample(4 * epoch + place).label for place in range(4)] for epoch in range(4)]
    assert all(sorted(epoch) == [0, 1, 2, 3] for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) > 1
    assert clips.sample(6).label == epochs[1][2]


def test_an_interrupted_cache_goes_on_and_another_model_is_refused(model, tmp_path, monkeypatch):
    monkeypatch.setattr("avgn.training.cached._SAVE_EVERY", 1)
    with pytest.raises(KeyboardInterrupt):
        cached_clips(tmp_path, model, Noise(fails_at=2), 3, 0, lambda done: None)
    made = []
    whole = cached_clips(tmp_path, model, Noise(), 3, 0, made.append)
    assert made == [3]
    fresh = cached_clips(tmp_path / "fresh", model, Noise(), 3, 0, lambda done: None)
    assert all((whole.arrays[name] == fresh.arrays[name])[:].all() for name in whole.arrays if name != "boxes")
    with pytest.raises(InputError, match="other encoders"):
        cached_clips(tmp_path, AVGN(CONFIG), Noise(), 3, 0, made.append)
    with pytest.raises(InputError, match="other encoders"):
        cached_clips(tmp_path, model, Noise(), 4, 0, made.append)


def test_heads_are_trained_and_encoders_put_back(tmp_path):
    quiet = Console(quiet=True)
    start = train(Job(CONFIG, replace(RECIPE, steps=1), Noise(), tmp_path / "start"), quiet)
    recipe = replace(FROZEN, deaf_patches=True)
    job = Job(CONFIG, recipe, Noise(), tmp_path / "heads", start=start, encoders_only=True, cached=3)
    before, after = (load_run(folder)[0].state_dict() for folder in (start, train(job, quiet)))
    same = {name: torch.equal(before[name], after[name]) for name in before}
    assert all(equal for name, equal in same.items() if name.startswith(ENCODERS))
    assert not same["fusion.classifier.weight"] and not same["select_net.saliency.weight"]
    assert not after["patch_net.attention.output.weight"].any() and not after["patch_net.attention.output.bias"].any()
    assert "3 fixed ones" in read_run(tmp_path / "heads").trained
    with pytest.raises(UsageError, match="frozen frame_encoder"):
        train(replace(job, folder=tmp_path / "loose", recipe=RECIPE), quiet)


def test_the_dense_yardstick_is_trained_by_the_same_loop(tmp_path):
    recipe = replace(FROZEN, warm_up=1, warm_up_batch=2, steps=2)
    job = Job(DENSE, recipe, Noise(), tmp_path / "dense", network="dense", cached=2)
    folder = train(job, Console(quiet=True))
    assert load_dense(folder)[1].network == "dense"
    with pytest.raises(InputError, match="dense network"):
        load_run(folder)
