"""Training with quantisers in place (QAT): the encoders learn to give with int8 what they gave in float.

It starts from a quantisation without training and changes weights, biases and steps of activations of the encoders
that gain by it; all else stays. Two phases, both on `avgn.training.loop`:

* `features`: each encoder on its own inputs, collected once from a number of clips, is drawn towards the maps that its
  float self makes of them, and towards the tokens that the network makes of these. No clips are composed and nothing
  but encoders runs: this is the cheap and larger part.
* `clips`, if asked for: the whole network on ever new clips: its answers and saliency towards those of the float
  network, its maps as before, and the losses of training.

Rounding passes gradients straight through where nothing is clamped. Weights are trained in units of their own int8
steps: folded batch norms give channels scales of any size, and one learning rate then fits all of them.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from rich.console import Console
from torch import Tensor, nn
from torch.nn.utils import parametrize

from avgn.data.samples import ClipSource, Truth, collate, on_device
from avgn.errors import InputError
from avgn.files import parse_json, write_file
from avgn.network.avgn import AVGN, Batch, unfold
from avgn.network.encoders import pool
from avgn.schema import plain
from avgn.training.branches import Outputs, run_branches
from avgn.training.loop import Phase, make_fabric, run_phase
from avgn.training.losses import losses
from avgn.training.recipe import PARTS, Recipe
from quantize.ptq import WHOLE
from quantize.quantizer import Spec, owner, quantizers, weight_of
from quantize.ranges import weight_steps
from quantize.state import ENCODERS

IDENTITY = "qat.json"  # what an unfinished training is of
LOGS = ("metrics-features.csv", "metrics-clips.csv", "tensorboard")
FIRST_CLIP = 1_000_000  # clips before are for calibration
_READERS = {"frame_encoder": "frame_token", "sound_encoder": "sound_token", "focus_encoder": "fusion.local"}
_BIAS_UNIT = 0.1  # biases stand beside normalised sums, which are of size 1


@dataclass(frozen=True)
class Tuning:
    """Which encoders learn, for how long and how strongly.

    `inputs_of` is from how many clips the inputs of the first phase come. `rate` is in int8 steps of a weight per
    update; `task` weighs the training losses.
    """

    learners: tuple[str, ...] = ("sound_encoder",)
    inputs_of: int = 64
    features: int = 800
    features_batch: int = 16
    clips: int = 0
    clips_batch: int = 4
    rate: float = 0.001
    clips_rate: float = 0.002
    task: float = 0.1
    seed: int = 0
    save_every: int = 20

    def __post_init__(self) -> None:
        counts = self.inputs_of, self.features_batch, self.clips_batch, self.save_every
        if min(self.features, self.clips) < 0 or min(counts) < 1:
            raise ValueError("steps must be at least 0, batches, inputs_of and save_every at least 1")
        if not self.learners or not set(self.learners) <= set(ENCODERS):
            raise ValueError(f"learners must be of {', '.join(ENCODERS)}")
        if min(self.rate, self.clips_rate) <= 0 or self.task < 0:
            raise ValueError("rates must be above 0, task at least 0")


@dataclass(frozen=True, eq=False)
class Teaching:
    """What is learnt: from which float network, on which inputs of each encoder [n,...], on which clips."""

    teacher: AVGN
    inputs: dict[str, Tensor]
    source: ClipSource
    tuning: Tuning


class Scaled(nn.Module):
    """A parameter kept in units of `unit`, which has its shape or spreads to it."""

    unit: Tensor

    def __init__(self, unit: Tensor) -> None:
        super().__init__()
        self.register_buffer("unit", unit)

    def forward(self, counted: Tensor) -> Tensor:
        """Units -> values."""
        return counted * self.unit

    def right_inverse(self, value: Tensor) -> Tensor:
        """Values -> units."""
        return value / self.unit


def tune(model: AVGN, teaching: Teaching, folder: Path, console: Console, resume: bool) -> dict[str, nn.Module]:
    """Train the quantised encoders of `model` and return them; state and metrics are kept in `folder`.

    With `resume` it goes on after the last saved step. Raises InputError for a state of another training, or where
    the loss is not finite.
    """
    tuning, fabric = teaching.tuning, make_fabric("32-true")
    teaching.teacher.eval().requires_grad_(False).to(fabric.device)
    for name in tuning.learners:
        _count_in_steps(getattr(model, name))
    for phase, rate in ((_features(teaching), tuning.rate), (_clips(teaching), tuning.clips_rate)):
        if phase.steps:
            model = run_phase(fabric, model, phase, _recipe(tuning, rate), folder, console, resume, 0)
    model = model.cpu()
    return {name: _settled(getattr(model, name)) for name in ENCODERS}


def claim(folder: Path, teaching: Teaching, run: str, clips: int) -> None:
    """Write down what is trained in `folder`, or compare with what is there. Raises InputError where it differs."""
    identity = {"run": run, "calibration": clips, "tuning": plain(teaching.tuning)}
    path = folder / IDENTITY
    if path.is_file() and parse_json(path.read_bytes(), str(path)) != identity:
        raise InputError(f"{folder}: holds the training of another run, or with other settings; do without --resume.")
    write_file(path, json.dumps(identity, indent=1) + "\n")


def _recipe(tuning: Tuning, rate: float) -> Recipe:
    return Recipe(rate=rate, weight_decay=0.0, ramp=20, ema=0.95, seed=tuning.seed, save_every=tuning.save_every)


def _count_in_steps(net: nn.Module) -> None:
    """Layers that stay in float are counted in the steps that they would have."""
    hooks = {owner(net, place): hook for place, hook in quantizers(net).items() if hook.is_weight}
    for hook in quantizers(net).values():
        if not hook.is_weight:
            hook.learn()
    for layer in [module for module in net.modules() if isinstance(module, (nn.Conv2d, nn.Linear))]:
        steps = hooks[layer].steps if layer in hooks else weight_steps(layer.weight, Spec("", *WHOLE, axis=0))
        shape = [-1] + [1] * (layer.weight.ndim - 1)
        parametrize.register_parametrization(layer, "weight", Scaled(steps.detach().clone().reshape(shape)))
        if layer.bias is not None:
            parametrize.register_parametrization(layer, "bias", Scaled(torch.tensor(_BIAS_UNIT)))


def _settled(net: nn.Module) -> nn.Module:
    """`net` with plain parameters and plain steps, its weights rounded: what is stored is what was computed with."""
    for layer in [module for module in net.modules() if parametrize.is_parametrized(module)]:
        for name in list(layer.parametrizations):  # type: ignore[arg-type]
            parametrize.remove_parametrizations(layer, name)
    for place, hook in quantizers(net).items():
        hook.settle()
        if hook.is_weight:
            weight = weight_of(net, place)
            weight.data = hook(weight.detach()).contiguous()
    return net.requires_grad_(False).eval()


def _features(teaching: Teaching) -> Phase:
    """Phase 1: one input of each encoder is an item, drawn at random."""
    tuning, teacher = teaching.tuning, teaching.teacher
    inputs = {name: teaching.inputs[name] for name in tuning.learners}

    def item(index: int) -> list[Tensor]:
        random = np.random.default_rng([tuning.seed, index])
        return [values[int(random.integers(len(values)))] for values in inputs.values()]

    def step(model: AVGN, batch: Sequence[Tensor]) -> dict[str, Tensor]:
        terms = {}
        for name, given in zip(inputs, batch, strict=True):
            given = given.contiguous(memory_format=torch.channels_last)
            found, reads = getattr(model, name)(given), teacher.get_submodule(_READERS[name])
            with torch.no_grad():
                wanted = getattr(teacher, name)(given)
            terms[name] = relative_error(found, wanted)
            terms[_READERS[name]] = relative_error(reads(pool(found)), reads(pool(wanted)))
        return _checked(terms)

    def together(items: list[list[Tensor]]) -> list[Tensor]:
        return [torch.stack(values) for values in zip(*items, strict=True)]

    return Phase("features", tuning.features, tuning.features_batch, item, together, step, _others(tuning))


def _clips(teaching: Teaching) -> Phase:
    """Phase 2: whole clips, none of them seen before."""
    tuning, teacher = teaching.tuning, teaching.teacher

    def item(index: int) -> Any:
        return teaching.source.sample(FIRST_CLIP + index)

    def step(model: AVGN, given: tuple[Batch, Truth]) -> dict[str, Tensor]:
        truth = given[1]
        batch = on_device(given[0], truth.label.device)
        recipe = Recipe()
        with tapped(model) as mine:
            out = run_branches(model, batch, recipe.modality_dropout)
        terms = _distillation(teacher, batch, out, {name: taps.joined() for name, taps in mine.items()})
        task = losses(out, truth, recipe.losses, model.config.saliency.training)["total"]
        found = _checked(terms | {"task": tuning.task * task})
        return found | {"top1": (out.logits.detach().argmax(1) == truth.label).float().mean()}

    return Phase("clips", tuning.clips, tuning.clips_batch, item, collate, step, _others(tuning))


def _others(tuning: Tuning) -> tuple[str, ...]:
    """The parts that keep what they have."""
    return tuple(part for part in PARTS if part not in tuning.learners)


def _distillation(
    teacher: AVGN, batch: Batch, out: Outputs, mine: dict[str, tuple[Tensor, Tensor]]
) -> dict[str, Tensor]:
    """How far maps, answers and saliency lie from the teacher's; it sees what the student saw."""
    batch = batch._replace(heard=out.heard, seen=out.seen)
    with torch.no_grad(), tapped(teacher) as taps:
        glance = teacher.glance_all(batch)
        visual, audio = unfold(glance.visual, batch), unfold(glance.audio, batch)
        selected = teacher.select(visual, audio, batch.heard, batch.seen)
        logits = teacher.look(batch, glance, selected, out.when)[0]
    wanted = {name: taps[name].joined()[1] for name in ("frame_encoder", "sound_encoder")}
    with torch.no_grad():  # the student looked at other places
        wanted["focus_encoder"] = teacher.focus_encoder(mine["focus_encoder"][0])
    terms = {name: relative_error(mine[name][1], wanted[name]) for name in ENCODERS}
    saliency, aim = out.selected.saliency, selected.saliency
    present = torch.maximum(out.heard, out.seen) > 0
    spread = (aim[present] - aim[present].mean()).square().sum() + 1e-6
    return terms | {
        "answer": divergence(out.logits, logits),
        "early": divergence(out.selected.logits, selected.logits),
        "saliency": (saliency[present] - aim[present]).square().sum() / spread,
    }


def relative_error(found: Tensor, wanted: Tensor) -> Tensor:
    """Squared error of `found` in units of the squared values of `wanted`."""
    return (found - wanted).square().sum() / wanted.square().sum().clamp(min=1e-12)


def divergence(found: Tensor, wanted: Tensor) -> Tensor:
    """Kullback-Leibler divergence of the answers `found` [B,C] (logits) from `wanted` [B,C], mean over B."""
    return F.kl_div(found.log_softmax(1), wanted.log_softmax(1), reduction="batchmean", log_target=True)


def _checked(terms: dict[str, Tensor]) -> dict[str, Tensor]:
    total = torch.stack(list(terms.values())).sum()
    if not bool(total.isfinite()):
        broken = [name for name, value in terms.items() if not bool(value.isfinite())]
        raise InputError(f"training with quantisers: the loss {broken[0]} is not finite; look at run and clips.")
    return terms | {"total": total}


@dataclass(eq=False)
class Taps:
    """What went into an encoder and what came out, call by call."""

    inputs: list[Tensor]
    outputs: list[Tensor]

    def joined(self) -> tuple[Tensor, Tensor]:
        """All inputs and all outputs."""
        return torch.cat(self.inputs), torch.cat(self.outputs)


@contextmanager
def tapped(model: AVGN) -> Iterator[dict[str, Taps]]:
    """Inside, what passes the three encoders is noted."""
    found = {name: Taps([], []) for name in ENCODERS}

    def noting(taps: Taps) -> Callable[[nn.Module, tuple[Tensor, ...], Tensor], None]:
        def hook(_: nn.Module, given: tuple[Tensor, ...], output: Tensor) -> None:
            taps.inputs.append(given[0].detach())
            taps.outputs.append(output)

        return hook

    handles = [getattr(model, name).register_forward_hook(noting(taps)) for name, taps in found.items()]
    try:
        yield found
    finally:
        for handle in handles:
            handle.remove()
