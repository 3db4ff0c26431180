"""`avgn train`: a preset and a folder of data become a run."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Annotated

import typer

from avgn.commands.options import JsonOption, console, print_json
from avgn.errors import UsageError
from avgn.extras import import_extra


def train(
    data: Annotated[Path, typer.Option("--data", help="Scenes material (clips are composed on the fly).")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the run.")],
    preset: Annotated[str, typer.Option("--preset", help="A preset by name, or a TOML file.")] = "edge",
    weights: Annotated[Path | None, typer.Option("--weights", help="Folder of pretrained encoders.")] = None,
    start: Annotated[Path | None, typer.Option("--from", help="A run whose weights to start from.")] = None,
    steps: Annotated[int | None, typer.Option("--steps", help="Steps, in place of the preset's.")] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="Seed, in place of the preset's.")] = None,
    split: Annotated[str, typer.Option("--split", help="Source files to use: train, train+val or all.")] = "train",
    sources: Annotated[
        Path | None, typer.Option("--sources", help="JSON list of {what, where, licence} for the model's papers.")
    ] = None,
    network: Annotated[
        str, typer.Option("--network", help="avgn, or dense: the yardstick that looks at every frame.")
    ] = "avgn",
    cached: Annotated[
        int, typer.Option("--cached", min=0, help="Whole clips: this many fixed ones, encoded once (frozen encoders).")
    ] = 0,
    workers: Annotated[int, typer.Option("--workers", help="Processes that make clips.")] = 0,
    resume: Annotated[bool, typer.Option("--resume", help="Go on after the last saved step.")] = False,
    json: JsonOption = False,
) -> None:
    """Train a model; see the preset's [training] table for how."""
    training = import_extra("avgn.training.train", "train", "avgn train")
    recipes = import_extra("avgn.training.recipe", "train", "avgn train")
    clips = import_extra("avgn.data.source", "train", "avgn train")
    from avgn.config import load_config

    if network not in ("avgn", "dense"):
        raise UsageError(f"--network {network}: choose avgn or dense.")
    recipe = recipes.load_recipe(preset)
    given = {"steps": steps, "seed": seed}
    try:
        recipe = dataclasses.replace(recipe, **{name: value for name, value in given.items() if value is not None})
    except ValueError as fault:
        raise UsageError(f"avgn train: {fault}.") from fault
    config = load_config(preset)
    if network == "dense":
        config = import_extra("avgn.network.dense", "train", "avgn train").dense_config(config)
    source = clips.open_source(data, config, recipe.seed, split)
    config = dataclasses.replace(config, classes=len(source.labels))
    papers = import_extra("avgn.network.checkpoint", "train", "avgn train").read_sources(sources) if sources else ()
    job = training.Job(
        config, recipe, source, out, weights, start, papers, workers, resume, network=network, cached=cached
    )
    folder = training.train(job, console(stderr=True))
    if json:
        print_json({"run": str(folder), "labels": list(source.labels)})
    else:
        console().print(str(folder), markup=False, soft_wrap=True)
