"""`avgn quantize`: the parts of a run in int8, calibrated on real clips, for `--precision int8`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from avgn.commands.options import JsonOption, console, print_json
from avgn.errors import InputError, UsageError
from avgn.extras import import_extra


def quantize(
    run: Annotated[Path, typer.Option("--run", help="Folder of the float run.")],
    data: Annotated[Path, typer.Option("--data", help="Material folder (images, sounds, …): clips are composed.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the quantised run.")],
    clips: Annotated[int, typer.Option("--clips", help="Clips to calibrate on.")] = 64,
    qat: Annotated[bool, typer.Option("--qat", help="Then train with quantisers in place.")] = False,
    feature_steps: Annotated[int | None, typer.Option("--feature-steps", help="QAT: steps on encoders alone.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="QAT: steps on whole clips.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="QAT: go on after the last saved step.")] = False,
    sensitivity: Annotated[bool, typer.Option("--sensitivity", help="Report what each quantiser costs.")] = False,
    fallback: Annotated[
        float | None,
        typer.Option("--fallback", min=0.0, help="Worst layers go back to float until encoders err by this much."),
    ] = None,
    heads: Annotated[
        bool, typer.Option("--heads", help="RUN is quantised: keep its encoders, quantise the layers behind them.")
    ] = False,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same clips.")] = 0,
    json: JsonOption = False,
) -> None:
    """Quantise encoders and the layers behind them to int8, without training or (--qat) with it."""
    made = import_extra("quantize.make", "quantize", "avgn quantize")
    sources = import_extra("avgn.data.source", "train", "avgn quantize")
    checkpoint = import_extra("avgn.network.checkpoint", "train", "avgn quantize")
    if out.resolve() == run.resolve():
        raise UsageError(f"{out}: is the float run itself; choose another folder for the quantised one.")
    if out.exists() and not (out / "run.json").is_file():
        raise UsageError(f"{out}: is there and is no run; choose another folder.")
    given = {"features": feature_steps, "clips": steps}
    if not qat and (resume or any(value is not None for value in given.values())):
        raise UsageError("--feature-steps, --steps and --resume are for training: give --qat with them.")
    if heads and (qat or sensitivity or fallback is not None):
        raise UsageError("--heads keeps encoders as they are: leave --qat, --sensitivity and --fallback away.")
    about = checkpoint.read_run(run)
    source = sources.open_source(data, about.config, seed)
    if source.labels != about.labels:
        raise InputError(f"{data}: its classes are not those that {run} was trained on; name its material.")
    job = made.Job(
        run, out, source, clips, f"{clips} clips composed of {data.name}, seed {seed}", sensitivity, fallback
    )
    screen = console(stderr=True)
    if qat:
        chosen = {name: value for name, value in given.items() if value is not None}
        found = made.with_training(job, chosen | {"seed": seed}, resume, screen)
    else:
        found = (made.heads_alone if heads else made.without_training)(job, screen)
    if json:
        print_json({"out": str(out), **asdict(found)})
        return
    screen = console()
    for name, error in found.relative_rms.items():
        screen.print(f"{name}: relative RMS of int8 to float {error:.3f}")
    screen.print(f"the same label on {found.same_labels} of {found.clips} clips")
    screen.print(str(out), markup=False, soft_wrap=True)
