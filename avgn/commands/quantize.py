"""`avgn quantize`: the encoders of a run in int8, calibrated on real clips, for exports with `--precision int8`."""

from __future__ import annotations

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
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same clips.")] = 0,
    json: JsonOption = False,
) -> None:
    """Quantise frame, sound and focus encoders to int8 without training."""
    from rich.progress import Progress

    calibration = import_extra("quantize.calibration", "quantize", "avgn quantize")
    state = import_extra("quantize.state", "quantize", "avgn quantize")
    sources = import_extra("avgn.data.source", "train", "avgn quantize")
    checkpoint = import_extra("avgn.network.checkpoint", "train", "avgn quantize")
    if out.resolve() == run.resolve():
        raise UsageError(f"{out}: is the float run itself; choose another folder for the quantised one.")
    if out.exists() and not (out / "run.json").is_file():
        raise UsageError(f"{out}: is there and is no run; choose another folder.")
    model, about = checkpoint.load_run(run)
    source = sources.open_source(data, about.config, seed)
    if source.labels != about.labels:
        raise InputError(f"{data}: its classes are not those that {run} was trained on; name its material.")
    with Progress(console=console(stderr=True)) as bar:
        watched = bar.track(range(clips), description="clips")
        batches = calibration.batches(source.sample(index) for index in watched)
        seen = calibration.collect(model, bar.track(batches, description="float model"))
        task = bar.add_task("encoders", total=len(state.ENCODERS))
        encoders = calibration.quantise_encoders(model, seen, lambda _: bar.advance(task))
        found = calibration.compare(model, encoders, seen, bar.track(batches, description="int8 model"))
    state.save_quantised(out, run, encoders, f"without training, {clips} clips composed of {data.name}, seed {seed}")
    if json:
        same = {"clips": found.clips, "same_labels": found.same_labels}
        print_json({"out": str(out), "relative_rms": found.relative_rms, **same})
        return
    screen = console()
    for name, error in found.relative_rms.items():
        screen.print(f"{name}: relative RMS of int8 to float {error:.3f}")
    screen.print(f"the same label on {found.same_labels} of {found.clips} clips")
    screen.print(str(out), markup=False, soft_wrap=True)
