import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from avgn.network.dense import Dense, dense_config
from avgn.training.dense import dense_losses, dense_macs, dense_warm_up_losses
from avgn.training.macs import count
from avgn.training.recipe import Recipe
from avgn.training.warm_up import GlimpseBatch

sys.path.insert(0, str(Path(__file__).parent))
from small import SMALL, batch

CONFIG = replace(dense_config(SMALL), frame=replace(SMALL.frame, size=64))


@pytest.fixture(scope="module")
def model():
    torch.manual_seed(0)
    made = Dense(CONFIG)
    return made.eval()


def test_it_sees_every_frame_at_the_native_side():
    config = dense_config(SMALL)
    assert (config.chosen, config.frame.size) == (SMALL.snippets, 224)
    assert (config.sound, config.saliency, config.fusion) == (SMALL.sound, SMALL.saliency, SMALL.fusion)


def test_its_cost_is_that_of_its_encoders_on_every_frame(model):
    frame = count(model.focus_encoder, torch.zeros(1, 3, 64, 64))
    sound = count(model.sound_encoder, torch.zeros(1, 1, CONFIG.sound.mels, CONFIG.sound.frames))
    least = CONFIG.snippets * (frame + sound)
    assert least < dense_macs(model) < 1.1 * least


def test_what_is_missing_changes_nothing(model):
    given = batch(2, CONFIG)
    heard, seen = given.heard.clone(), given.seen.clone()
    heard[:, 1], seen[:, 2] = 0, 0
    masked = given._replace(heard=heard, seen=seen)
    other = masked._replace(frames=masked.frames.clone(), mel=masked.mel.clone())
    other.frames[:, 2], other.mel[:, 1] = 0.3, 5.0
    with torch.no_grad():
        assert torch.allclose(model(masked), model(other), atol=1e-6)
        assert not torch.allclose(model(masked), model(given), atol=1e-6)


def test_losses_are_finite_and_reach_every_part(model):
    from avgn.data.samples import Truth

    given = batch(2, CONFIG)
    truth = Truth(torch.tensor([0, 1]), torch.ones(2, CONFIG.snippets), torch.full((2, CONFIG.snippets, 4), torch.nan))
    terms = dense_losses(model, given, truth, Recipe(modality_dropout=0.0))
    terms["total"].backward()
    untouched = [name for name, value in model.named_parameters() if value.grad is None]
    assert not untouched
    glimpses = GlimpseBatch(
        torch.zeros(2, 3, 64, 64, dtype=torch.uint8), torch.zeros(0), given.mel[0, :2], truth.label, *(torch.ones(2, 2))
    )
    assert set(dense_warm_up_losses(model, glimpses)) == {"local", "sound", "total"}
