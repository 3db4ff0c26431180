"""Calibration: what each encoder sees at run time, collected by running the float model itself on real clips."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from avgn.data.samples import Sample, collate, on_device
from avgn.errors import InputError
from avgn.network.avgn import AVGN, Batch
from quantize.layerwise import spread
from quantize.ptq import quantise
from quantize.shares import float_stems, work_shares
from quantize.state import ENCODERS, with_parts

LEAST_CLIPS = 8
EACH = 4  # inputs of an encoder that one clip gives: spread over the clip, since neighbours look alike


@dataclass(frozen=True, eq=False)
class Seen:
    """Batches that each encoder was given, one a clip, and the labels that the float model chose."""

    inputs: dict[str, list[Tensor]]
    labels: list[int]


@dataclass(frozen=True)
class Found:
    """Float against int8 on the calibration clips: relative RMS by encoder, clips with the same label."""

    clips: int
    relative_rms: dict[str, float]
    same_labels: int


def batches(samples: Iterable[Sample]) -> list[Batch]:
    """Each clip as a batch of one. Raises InputError for fewer than LEAST_CLIPS."""
    found = [on_device(collate([sample])[0], torch.device("cpu")) for sample in samples]
    if len(found) < LEAST_CLIPS:
        raise InputError(f"calibration: {len(found)} clips are too few, {LEAST_CLIPS} are needed; give more clips.")
    return found


@torch.no_grad()
def collect(model: AVGN, clips: Iterable[Batch], each: int = EACH) -> Seen:
    """Run `model` and note frames, log-mels and the patches that it chose, up to `each` of a clip.

    Raises InputError for broken clips.
    """
    seen = Seen({name: [] for name in ENCODERS}, [])
    for clip in clips:
        parts: dict[str, list[Tensor]] = {name: [] for name in ENCODERS}
        handles = [getattr(model, name).register_forward_pre_hook(_note(parts[name])) for name in ENCODERS]
        try:
            logits = model(clip)
        finally:
            for handle in handles:
                handle.remove()
        if not bool(logits.isfinite().all()):
            raise InputError("calibration: a clip made the network answer with values that are not finite.")
        seen.labels.append(int(logits.argmax()))
        for name, given in parts.items():
            seen.inputs[name].append(spread(torch.cat(given), each))
    return seen


def lessons(model: AVGN, samples: Iterable[Sample]) -> dict[str, Tensor]:
    """What the encoders learn from: more inputs of each clip than calibration needs, and more patches than it chooses.

    Raises InputError for broken clips.
    """
    config = model.config
    model.config = replace(config, chosen=min(EACH, config.snippets))
    try:
        seen = collect(model, (on_device(collate([sample])[0], torch.device("cpu")) for sample in samples), 2 * EACH)
    finally:
        model.config = config
    return {name: torch.cat(values) for name, values in seen.inputs.items()}


def _note(into: list[Tensor]) -> Callable[[nn.Module, tuple[Tensor, ...]], None]:
    def hook(_: nn.Module, inputs: tuple[Tensor, ...]) -> None:
        into.append(inputs[0].detach().clone())

    return hook


def quantise_encoders(model: AVGN, seen: Seen, done: Callable[[str], None] = lambda _: None) -> dict[str, nn.Module]:
    """The three encoders quantised; `done` is told each name. Raises InputError for too few inputs."""
    stems, made = float_stems(model, work_shares(model, seen.inputs)), {}
    for name in ENCODERS:
        made[name] = quantise(getattr(model, name), seen.inputs[name], stems.get(name, 0))
        done(name)
    return made


@torch.no_grad()
def compare(model: AVGN, parts: dict[str, nn.Module], seen: Seen, clips: Iterable[Batch]) -> Found:
    """What the quantised `parts` change on the clips themselves, in PyTorch."""
    errors = {}
    for name, inputs in seen.inputs.items():
        pairs = [(getattr(model, name)(given), parts[name](given)) for given in inputs]
        error = sum(float((found - wanted).square().sum()) for wanted, found in pairs)
        errors[name] = (error / sum(float(wanted.square().sum()) for wanted, _ in pairs)) ** 0.5
    quantised = with_parts(model, parts)
    same = sum(int(quantised(clip).argmax()) == label for clip, label in zip(clips, seen.labels, strict=True))
    return Found(len(seen.labels), errors, same)
