"""`avgn train`: a preset and a folder of data become a run."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from lightning_fabric import Fabric
from rich.console import Console
from rich.progress import Progress
from torch import Tensor, nn

from avgn.config import Config
from avgn.data.samples import ClipSource, GlimpseSource, Truth, collate, on_device
from avgn.errors import InputError, UsageError
from avgn.manifest import Source
from avgn.network.avgn import AVGN, Batch
from avgn.network.checkpoint import Network, Run, load_weights, new_run, read_run, save_run, write_run
from avgn.network.dense import Dense
from avgn.network.fold import fold_norms, round_to_half
from avgn.network.weights import load_encoder, pretrained
from avgn.training.branches import run_branches
from avgn.training.cached import cached_clips, fed, frozen_for_cache
from avgn.training.dense import dense_losses, dense_warm_up_losses
from avgn.training.loop import Phase, make_fabric, run_phase
from avgn.training.losses import losses
from avgn.training.recipe import Recipe
from avgn.training.warm_up import collate_glimpses, warm_up_losses

CLIPS = "clips"  # the phase of whole clips


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
    network: Network = "avgn"
    encoders_only: bool = False  # of `start`: everything else starts afresh
    published: tuple[str, ...] = ()  # encoders (frame, sound, focus) of published weights, whatever `start` holds
    cached: int = 0  # train on this many fixed clips, encoded once; 0: ever new ones
    cache: Path | None = None  # where they are kept; the run's own folder


@dataclass(frozen=True)
class _Kind:
    """A network that can be trained: how it is made, and its losses on clips and on single moments."""

    build: Callable[[Config], Any]
    clips: Callable[[Any, Batch, Truth, Recipe], dict[str, Tensor]]
    warm_up: Callable[[Any, Any], dict[str, Tensor]]


def _avgn_losses(model: AVGN, batch: Batch, truth: Truth, recipe: Recipe) -> dict[str, Tensor]:
    out = run_branches(model, batch, recipe.modality_dropout)
    terms = losses(out, truth, recipe.losses, model.config.saliency.training)
    return terms | {"top1": (out.logits.detach().argmax(1) == truth.label).float().mean()}


_KINDS: dict[Network, _Kind] = {
    "avgn": _Kind(AVGN, _avgn_losses, warm_up_losses),
    "dense": _Kind(Dense, dense_losses, dense_warm_up_losses),
}


def train(job: Job, console: Console) -> Path:
    """Train, and write the run to `job.folder`; returns the folder.

    Raises UsageError where a run is already there and `resume` is not asked for, or for a recipe that does not fit the
    job, InputError for unusable weights.
    """
    run = _claim(job)
    fabric = make_fabric(job.recipe.precision)
    with fabric.init_module():
        fabric.seed_everything(job.recipe.seed, verbose=False)
        model = _KINDS[job.network].build(job.config)
    if fabric.is_global_zero:
        write_run(job.folder, run)
    _start(model, job, console if fabric.is_global_zero else Console(quiet=True))
    if job.recipe.deaf_patches:
        _deafen_patches(model)
    for phase in _phases(job):
        if phase.name == CLIPS and job.cached:
            model = _run_cached(fabric, model, phase, job, console)
        else:
            model = run_phase(fabric, model, phase, job.recipe, job.folder, console, job.resume, job.workers)
    if fabric.is_global_zero:
        fold_norms(model)
        round_to_half(model)
        save_run(job.folder, model, replace(run, trained=_story(job)))
    return job.folder


def _run_cached(fabric: Fabric, model: Any, phase: Phase, job: Job, console: Console) -> Any:
    """The phase on fixed clips, encoded once."""
    loose = [part for part in frozen_for_cache(model) if part not in phase.frozen]
    if loose or fabric.world_size > 1:
        raise UsageError(f"cached clips need a frozen {loose[0]}." if loose else "cached clips need a single process.")
    with Progress(console=console, transient=True) as bar:
        task = bar.add_task("encode clips", total=job.cached)
        folder = job.cache or job.folder / "cache"
        clips = cached_clips(
            folder, model, job.source, job.cached, job.recipe.seed, lambda done: bar.update(task, completed=done)
        )
    with fed(model) as restore:
        phase = replace(phase, item=clips.sample)
        return restore(run_phase(fabric, model, phase, job.recipe, job.folder, console, job.resume, job.workers))


def _deafen_patches(model: AVGN) -> None:
    """AESPA's attention to the sound adds nothing, now and after training: its output layer is 0 and stays so."""
    for parameter in model.patch_net.attention.output.parameters():
        nn.init.zeros_(parameter)
        parameter.register_hook(torch.zeros_like)


def _start(model: nn.Module, job: Job, console: Console) -> None:
    """Initial weights: those of another run where names and shapes fit, else pretrained encoders."""
    if job.start is None:
        load_encoders(model, job.config, job.weights, console)
        return
    there = load_weights(job.start)
    own = model.state_dict()
    fitting = {name: value for name, value in there.items() if name in own and own[name].shape == value.shape}
    if job.encoders_only:
        fitting = {name: value for name, value in fitting.items() if name.split(".")[0].endswith("_encoder")}
    model.load_state_dict(fitting, strict=False)
    console.print(f"starts from {job.start}: {len(fitting)} of {len(own)} tensors fit")
    load_encoders(model, job.config, job.weights, console, job.published)


def load_encoders(
    model: nn.Module,
    config: Config,
    folder: Path | None,
    console: Console,
    which: tuple[str, ...] = ("frame", "sound", "focus"),
) -> None:
    """Give each encoder of `which` its pretrained weights where they are to be had; say so where not."""
    names = {"frame": config.frame.encoder, "sound": config.sound.encoder, "focus": config.focus.encoder}
    nets = {part: net for part in which if (net := getattr(model, f"{part}_encoder", None)) is not None}
    for part, net in nets.items():
        name = names[part]
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
        return replace(new_run(job.config, job.source.labels, network=job.network), sources=job.sources)
    run = read_run(job.folder)
    if (run.config, run.labels, run.network) != (job.config, job.source.labels, job.network):
        raise InputError(f"{job.folder}: was started with another preset or other classes; name another folder.")
    return run


def _phases(job: Job) -> list[Phase]:
    recipe, source, kind = job.recipe, job.source, _KINDS[job.network]

    def clips(model: Any, item: Any) -> dict[str, Tensor]:
        batch, truth = item
        return kind.clips(model, on_device(batch, truth.label.device), truth, recipe)

    phases = [Phase(CLIPS, recipe.steps, recipe.batch, source.sample, collate, clips, recipe.frozen)]
    if recipe.warm_up:
        if not isinstance(source, GlimpseSource):
            raise UsageError("warm_up needs data with known moments and boxes (Scenes material); set warm_up = 0.")
        phases.insert(
            0,
            Phase(
                "warm_up",
                recipe.warm_up,
                recipe.warm_up_batch,
                source.glimpse,
                collate_glimpses,
                kind.warm_up,
                recipe.warm_up_frozen,
            ),
        )
    return phases


def _story(job: Job) -> str:
    recipe = job.recipe
    warm_up = f"{recipe.warm_up} warm-up steps of {recipe.warm_up_batch}, " * bool(recipe.warm_up)
    frozen = f" with {', '.join(recipe.frozen)} frozen" * bool(recipe.frozen)
    clips = f"{recipe.batch} clips" + f" (of {job.cached} fixed ones)" * bool(job.cached)
    return f"{warm_up}{recipe.steps} steps of {clips}{frozen}, seed {recipe.seed}"
