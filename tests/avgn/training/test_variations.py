from dataclasses import replace
from pathlib import Path

import pytest
from rich.console import Console
from test_train import CONFIG, Noise

from avgn.errors import UsageError
from avgn.network.checkpoint import new_run, write_run
from avgn.training import variations
from avgn.training.variations import VARIATIONS, Plan, retrain, varied

QUIET = Console(quiet=True)


@pytest.fixture
def jobs(monkeypatch):
    """Jobs that would be trained; each leaves a finished run behind."""
    made = []

    def trained(job, console):
        made.append(job)
        job.folder.mkdir(parents=True)
        (job.folder / "model.safetensors").touch()

    monkeypatch.setattr(variations, "train", trained)
    monkeypatch.setattr(variations, "open_source", lambda *_: Noise())
    return made


def plan(folder, labels=("a", "b", "c")):
    write_run(folder / "start", new_run(CONFIG, labels))
    return Plan(folder / "start", Path("material"), "train", 2, 7, 5, folder / "trained")


def test_each_is_one_change(tmp_path, jobs):
    retrain(plan(tmp_path), ["all"], QUIET)
    by_name = {job.folder.name: job for job in jobs}
    assert len(by_name) == 2 * len(VARIATIONS)
    true = by_name["true-0"]
    assert true.recipe.losses.true_saliency and true.recipe.losses.true_place and not true.recipe.deaf_patches
    assert true.config == CONFIG and true.encoders_only and true.cached == 7 and true.recipe.seed == 0
    weak = by_name["weak-1"]
    assert weak.recipe == replace(true.recipe, losses=weak.recipe.losses, seed=1) and weak.config == CONFIG
    assert not weak.recipe.losses.true_saliency and not weak.recipe.losses.true_place
    assert by_name["weak-gumbel-0"].config.saliency.training == "gumbel"
    assert by_name["true-deaf-patches-0"].recipe == replace(true.recipe, deaf_patches=True)
    other = by_name["focus-lite2-0"]
    assert other.config.focus.encoder == "efficientnet_lite2" and other.published == ("focus",) and not true.published
    assert other.cache == true.cache and {"frame_encoder", "sound_encoder"} == set(other.recipe.warm_up_frozen)
    assert by_name["dense-0"].config.frame.size == 224 and by_name["dense-0"].network == "dense"
    assert true.cache == weak.cache != by_name["dense-0"].cache  # the same clips for all of one network


def test_what_is_trained_is_not_trained_again(tmp_path, jobs):
    runs = retrain(plan(tmp_path), ["weak", "weak"], QUIET)
    assert [folder.name for _, folder in runs] == ["weak-0", "weak-1"]
    assert retrain(plan(tmp_path), ["weak"], QUIET) == runs and len(jobs) == 2


def test_unknown_names_and_other_classes_are_refused(tmp_path, jobs):
    with pytest.raises(UsageError, match="weaker"):
        retrain(plan(tmp_path), ["weaker"], QUIET)
    with pytest.raises(UsageError, match="other classes"):
        retrain(plan(tmp_path, ("x", "y", "z")), ["weak"], QUIET)


@pytest.mark.parametrize("name", VARIATIONS)
def test_configurations_are_valid(name):
    assert varied(CONFIG, VARIATIONS[name]).snippets == CONFIG.snippets
