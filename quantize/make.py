"""What `avgn quantize` does: a float run and a source of clips become a quantised run, with or without training."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.progress import Progress
from torch import nn

from avgn.data.samples import ClipSource
from avgn.errors import UsageError
from avgn.network.avgn import AVGN, Batch
from avgn.network.checkpoint import load_run
from quantize import qat
from quantize.calibration import Found, Seen, batches, collect, compare, lessons, quantise_encoders
from quantize.heads import quantise_behind
from quantize.layerwise import spread
from quantize.quantizer import quantizers
from quantize.sensitivity import FILES, INPUTS, Report, Step, costs_of, fall_back, write_report
from quantize.state import ENCODERS, is_quantised, load_quantised, save_quantised, words_of

HELD_OUT = 500_000  # clips from here on are neither calibrated nor trained on
_JUDGED = 16
_BATCH = 64  # inputs of an encoder at once
_HEADS = "; heads: "  # in what a run says of how it was made


@dataclass(frozen=True)
class Job:
    """The float run, where its quantised one goes, and the first `clips` of `source` to calibrate on, in `words`."""

    run: Path
    out: Path
    source: ClipSource
    clips: int
    words: str
    sensitivity: bool = False  # report what each quantiser costs
    fallback: float | None = None  # relative RMS error from which on layers go back to float


def without_training(job: Job, console: Console) -> Found:
    """Calibrate, write `job.out`, and compare with float on clips that were not calibrated on."""
    with Progress(console=console) as bar:
        model, parts = _calibrated(job, _composed(job, bar), bar)
    return judge(job, model, parts, console)


def _calibrated(job: Job, clips: list[Batch], bar: Progress) -> tuple[AVGN, dict[str, nn.Module]]:
    """The float model, and its parts quantised on `clips`, which are written to `job.out`."""
    model, _ = load_run(job.run)
    seen = collect(model, bar.track(clips, description="float model"))
    task = bar.add_task("encoders", total=len(ENCODERS))
    encoders = quantise_encoders(model, seen, lambda _: bar.advance(task))
    report = None
    if job.sensitivity or job.fallback is not None:
        encoders, report = _weighed(model, encoders, seen, job.fallback, bar)
    parts = encoders | quantise_behind(model, encoders, seen.inputs, bar.track(clips, description="int8 model"))
    words = "" if job.fallback is None else f", layers back in float where the error was above {job.fallback}"
    save_quantised(job.out, job.run, parts, f"without training, {job.words}{words}")
    if report is not None:
        write_report(report, job.out)
    return model, parts


def heads_alone(job: Job, console: Console) -> Found:
    """The quantised run `job.run` with all behind its own encoders quantised (again), into `job.out`."""
    quantised, _ = load_quantised(job.run)
    model, _ = load_run(job.run)
    encoders = {name: getattr(quantised, name) for name in ENCODERS}
    with Progress(console=console) as bar:
        clips = _composed(job, bar)
        seen = collect(model, bar.track(clips, description="float model"))
        behind = quantise_behind(model, encoders, seen.inputs, bar.track(clips, description="int8 model"))
    parts = encoders | behind
    save_quantised(job.out, job.run, parts, f"{words_of(job.run).split(_HEADS)[0]}{_HEADS}{job.words}")
    return judge(job, model, parts, console)


def with_training(job: Job, settings: dict[str, Any], resume: bool, console: Console) -> Found:
    """Calibrate (or go on with what is in `job.out`), train with quantisers in place, write, and compare.

    `settings` are fields of `quantize.qat.Tuning`. Raises UsageError for values out of range and for a finished
    training, InputError for one of something else.
    """
    try:
        tuning = qat.Tuning(**settings)
    except ValueError as fault:
        raise UsageError(f"avgn quantize --qat: {fault}.") from fault
    unfinished = (job.out / qat.IDENTITY).is_file()
    if resume and is_quantised(job.out) and not unfinished:
        raise UsageError(f"{job.out}: its training is finished, or was none; leave --resume away to make it anew.")
    teacher, run = load_run(job.run)
    with Progress(console=console) as bar:
        if not (resume and unfinished):
            _calibrated(job, _composed(job, bar), bar)
        model, _ = load_quantised(job.out)
        watched = bar.track(range(tuning.inputs_of), description="inputs of encoders")
        inputs = lessons(teacher, (job.source.sample(index) for index in watched))
    teaching = qat.Teaching(teacher, inputs, job.source, tuning)
    qat.claim(job.out, teaching, run.run, job.clips)
    encoders = qat.tune(model, teaching, job.out, console, resume)
    batched = {name: values.split(_BATCH) for name, values in inputs.items()}
    with Progress(console=console) as bar:  # for the maps as they are now
        clips = bar.track(_composed(job, bar), description="int8 model")
        parts = encoders | quantise_behind(teacher, encoders, batched, clips)
    words = f"{tuning.features} steps of {tuning.features_batch} inputs, {tuning.clips} of {tuning.clips_batch} clips"
    save_quantised(job.out, job.run, parts, f"trained with quantisers, {words}; {job.words}", (*qat.LOGS, *FILES))
    return judge(job, load_run(job.run)[0], parts, console)


def _weighed(
    model: AVGN, encoders: dict[str, nn.Module], seen: Seen, fallback: float | None, bar: Progress
) -> tuple[dict[str, nn.Module], Report]:
    """What each quantiser costs and, with `fallback`, encoders whose worst layers are float again."""
    task = bar.add_task("sensitivity", total=sum(len(quantizers(net)) for net in encoders.values()))
    costs = costs_of(model, encoders, seen.inputs, lambda: bar.advance(task))
    steps: list[Step] = []
    if fallback is not None:
        encoders, steps = fall_back(model, encoders, seen.inputs, costs, fallback)
    return encoders, Report(len(spread(torch.cat(seen.inputs[ENCODERS[0]]), INPUTS)), tuple(costs), tuple(steps))


def judge(job: Job, model: AVGN, parts: dict[str, nn.Module], console: Console) -> Found:
    """Float against int8 on clips of the same source that neither calibration nor training saw."""
    with Progress(console=console) as bar:
        watched = bar.track(range(_JUDGED), description="other clips")
        clips = batches(job.source.sample(HELD_OUT + index) for index in watched)
        seen = collect(model, clips)
        return compare(model, parts, seen, bar.track(clips, description="int8 model"))


def _composed(job: Job, bar: Progress) -> list[Batch]:
    watched = bar.track(range(job.clips), description="clips")
    return batches(job.source.sample(index) for index in watched)
