"""`avgn train`: a preset and a folder of data become a run."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from torch import Tensor

from avgn.config import Config
from avgn.data.samples import ClipSource, GlimpseSource, collate, on_device
from avgn.errors import InputError, UsageError
from avgn.manifest import Source
from avgn.network.avgn import AVGN
from avgn.network.checkpoint import Run, load_run, new_run, read_run, save_run, write_run
from avgn.network.weights import load_encoder, pretrained
from avgn.training.branches import run_branches
from avgn.training.loop import Phase, make_fabric, run_phase
from avgn.training.losses import losses
from avgn.training.recipe import Recipe
from avgn.training.warm_up import collate_glimpses, warm_up_losses


@dataclass(frozen=True)
class Job:
    """One training run: what, how, on what, where to."""

    config: Config
    recipe: Recipe
    source: ClipSource
    folder: Path
    weights: Path | None = None  # folder of pretrained encoders
    start: Path | None = None  # a run to start from instead
    sources: tuple[Source, ...] = ()  # where weights and data come from, and their licences
    workers: int = 0
    resume: bool = False


def train(job: Job, console: Console) -> Path:
    """Train, and write the run to `job.folder`; returns the folder.

    Raises UsageError where a run is already there and `resume` is not asked for, InputError for unusable weights.
    """
    run = _claim(job)
    fabric = make_fabric(job.recipe.precision)
    with fabric.init_module():
        fabric.seed_everything(job.recipe.seed, verbose=False)
        model = AVGN(job.config)
    if fabric.is_global_zero:
        write_run(job.folder, run)
    _start(model, job, console if fabric.is_global_zero else Console(quiet=True))
    for phase in _phases(job):
        model = run_phase(fabric, model, phase, job.recipe, job.folder, console, job.resume, job.workers)
    if fabric.is_global_zero:
        save_run(job.folder, model, replace(run, trained=_story(job)))
    return job.folder


def _start(model: AVGN, job: Job, console: Console) -> None:
    """Initial weights: those of another run where names and shapes fit, else pretrained encoders."""
    if job.start is None:
        load_encoders(model, job.weights, console)
        return
    there = load_run(job.start)[0].state_dict()
    own = model.state_dict()
    fitting = {name: value for name, value in there.items() if name in own and own[name].shape == value.shape}
    model.load_state_dict(fitting, strict=False)
    console.print(f"starts from {job.start}: {len(fitting)} of {len(own)} tensors fit")


def load_encoders(model: AVGN, folder: Path | None, console: Console) -> None:
    """Give each encoder its pretrained weights where they are to be had; say so where not."""
    config = model.config
    nets = (
        (model.frame_encoder, config.frame.encoder),
        (model.sound_encoder, config.sound.encoder),
        (model.focus_encoder, config.focus.encoder),
    )
    for net, name in nets:
        path = pretrained(name, folder)
        if path is None:
            console.print(f"[yellow]{name}: no pretrained weights found, it starts from nothing (see --weights).")
        else:
            load_encoder(net, name, path)
            console.print(f"{name}: starts from {path.name}")


def _claim(job: Job) -> Run:
    """The identity of the run: the one in the folder when resuming, else a new one."""
    there = (job.folder / "run.json").exists()
    if there and not job.resume:
        raise UsageError(f"{job.folder} holds a run already: resume it with --resume, or name another folder.")
    if not there:
        return replace(new_run(job.config, job.source.labels), sources=job.sources)
    run = read_run(job.folder)
    if (run.config, run.labels) != (job.config, job.source.labels):
        raise InputError(f"{job.folder}: was started with another preset or other classes; name another folder.")
    return run


def _phases(job: Job) -> list[Phase]:
    recipe, source = job.recipe, job.source

    def clips(model: AVGN, item: Any) -> dict[str, Tensor]:
        batch, truth = item
        out = run_branches(model, on_device(batch, truth.label.device), recipe.modality_dropout)
        terms = losses(out, truth, recipe.losses, model.config.saliency.training)
        return terms | {"top1": (out.logits.detach().argmax(1) == truth.label).float().mean()}

    phases = [Phase("clips", recipe.steps, recipe.batch, source.sample, collate, clips, recipe.frozen)]
    if recipe.warm_up:
        if not isinstance(source, GlimpseSource):
            raise UsageError("warm_up needs data with known moments and boxes (Scenes material); set warm_up = 0.")
        phases.insert(
            0, Phase("warm_up", recipe.warm_up, recipe.warm_up_batch, source.glimpse, collate_glimpses, warm_up_losses)
        )
    return phases


def _story(job: Job) -> str:
    recipe = job.recipe
    warm_up = f"{recipe.warm_up} warm-up steps of {recipe.warm_up_batch}"
    frozen = f" with {', '.join(recipe.frozen)} frozen" * bool(recipe.frozen)
    return f"{warm_up}, {recipe.steps} steps of {recipe.batch} clips{frozen}, seed {recipe.seed}"
