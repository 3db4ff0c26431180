import csv
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from rich.console import Console

from avgn.errors import InputError, UsageError
from avgn.network.checkpoint import load_run, read_run
from avgn.training.recipe import Recipe, load_recipe
from avgn.training.state import load_state
from avgn.training.train import Job, train
from noise_clips import CONFIG, Noise

RECIPE = Recipe(steps=6, batch=2, ramp=1, save_every=2, rate=1e-3, precision="32-true")
QUIET = Console(quiet=True)


def job(folder, **changes):
    return replace(Job(CONFIG, RECIPE, Noise(), folder), **changes)


def weights(folder):
    return load_run(folder)[0].state_dict()


def test_a_run_is_written_whole(tmp_path):
    folder = train(job(tmp_path / "run", recipe=replace(RECIPE, warm_up=2, warm_up_batch=3)), QUIET)
    model, run = load_run(folder)
    assert run.labels == ("a", "b", "c")
    assert "6 steps of 2" in run.trained
    assert model.config == CONFIG
    with (folder / "metrics-clips.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["step"] for row in rows] == ["0"]
    assert float(rows[0]["total"]) > 0
    assert list((folder / "tensorboard").iterdir())
    assert (folder / "state-warm_up.safetensors").exists()


def test_a_killed_run_resumes_to_the_same_weights(tmp_path):
    train(job(tmp_path / "whole"), QUIET)
    with pytest.raises(KeyboardInterrupt):
        train(job(tmp_path / "killed", source=Noise(fails_at=9)), QUIET)
    assert not (tmp_path / "killed" / "model.safetensors").exists()
    identity = read_run(tmp_path / "killed").run
    train(job(tmp_path / "killed", resume=True), QUIET)
    assert read_run(tmp_path / "killed").run == identity
    whole, resumed = weights(tmp_path / "whole"), weights(tmp_path / "killed")
    assert all(torch.equal(whole[name], resumed[name]) for name in whole)


def test_another_seed_gives_other_weights(tmp_path):
    train(job(tmp_path / "first"), QUIET)
    train(job(tmp_path / "second", recipe=replace(RECIPE, seed=1)), QUIET)
    first, second = weights(tmp_path / "first"), weights(tmp_path / "second")
    assert not torch.equal(first["fusion.classifier.weight"], second["fusion.classifier.weight"])


def test_a_frozen_part_stays_as_it_was(tmp_path):
    train(job(tmp_path / "start"), QUIET)
    frozen = replace(RECIPE, frozen=("frame_encoder",), frozen_norms=False)
    train(job(tmp_path / "frozen", start=tmp_path / "start", recipe=frozen), QUIET)
    start, after = weights(tmp_path / "start"), weights(tmp_path / "frozen")
    same = {name: torch.equal(start[name], after[name]) for name in start}
    assert all(equal for name, equal in same.items() if name.startswith("frame_encoder."))
    assert not same["focus_encoder.features.0.0.weight"]
    assert not same["sound_encoder.features.0.1.bias"]  # into which the mean is folded


def test_an_encoder_may_start_from_published_weights_beside_a_run(tmp_path):
    """Of Lite0's package, while all else is the run's; the warm-up may leave parts alone, too."""
    train(job(tmp_path / "start"), QUIET)
    recipe = replace(RECIPE, warm_up=1, warm_up_frozen=("focus_encoder", "frame_encoder"))
    recipe = replace(recipe, frozen=recipe.warm_up_frozen)
    for name, more in (("fresh", {}), ("mixed", {"start": tmp_path / "start", "published": ("focus",)})):
        train(job(tmp_path / name, recipe=recipe, **more), QUIET)
    start, fresh, mixed = (weights(tmp_path / name) for name in ("start", "fresh", "mixed"))
    focus, frame = "focus_encoder.features.0.0.weight", "frame_encoder.features.0.0.weight"
    assert torch.equal(mixed[focus], fresh[focus]) and not torch.equal(mixed[focus], start[focus])
    assert torch.equal(mixed[frame], start[frame]) and not torch.equal(mixed[frame], fresh[frame])


def test_a_run_is_not_overwritten_or_mixed(tmp_path):
    folder = train(job(tmp_path / "run"), QUIET)
    with pytest.raises(UsageError, match="--resume"):
        train(job(folder), QUIET)
    with pytest.raises(InputError, match="another preset"):
        train(job(folder, config=replace(CONFIG, chosen=2), resume=True), QUIET)


def test_a_damaged_state_is_named(tmp_path):
    folder = train(job(tmp_path / "run"), QUIET)
    state = folder / "state-clips.safetensors"
    state.write_bytes(state.read_bytes()[:1000])
    with pytest.raises(InputError, match="state-clips"):
        train(job(folder, resume=True), QUIET)
    with pytest.raises(InputError):
        load_state(folder / "nothing.safetensors", torch.nn.Linear(1, 1), torch.nn.Linear(1, 1), None)


@pytest.mark.parametrize("preset", ["edge", "paper"])
def test_presets_have_recipes(preset):
    assert load_recipe(preset).steps >= 1


def test_unknown_keys_of_a_recipe_are_named(tmp_path):
    path = tmp_path / "mine.toml"
    path.write_text("[training]\nstepps = 3\n")
    with pytest.raises(InputError, match="stepps"):
        load_recipe(str(path))


def test_two_processes_train_one_model(tmp_path):
    """Two CPU processes over gloo, as torchrun starts them: one run, and the same weights in both."""
    script = Path(__file__).parent / "two_processes.py"
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    done = subprocess.run([*command, str(tmp_path)], capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    first, second = ((tmp_path / f"rank{rank}").read_text() for rank in (0, 1))
    assert first == second
    assert load_run(tmp_path / "run")[1].labels == ("a", "b", "c")
