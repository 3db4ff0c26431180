"""`avgn study`: what each part of the method is worth, as tables and plots."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avgn.commands.options import JsonOption, console, print_json
from avgn.errors import UsageError
from avgn.extras import import_extra

if TYPE_CHECKING:
    from runtimes.ablated import Rehearsal


def study(
    data: Annotated[
        list[Path],
        typer.Option("--data", help="Clips of `avgn scenes`; repeated: first the benchmark's, then shifted ones."),
    ],
    out: Annotated[Path, typer.Option("--out", help="Folder for the page, its plots and every answer.")],
    run: Annotated[list[Path] | None, typer.Option("--run", help="A run, in PyTorch; repeated: seeds of one.")] = None,
    bundle: Annotated[
        list[Path] | None, typer.Option("--bundle", help="A bundle: faster than its run, and in its place.")
    ] = None,
    also: Annotated[
        list[str] | None,
        typer.Option("--also", metavar="NAME=RUN", help="Another model to compare, such as dense=runs/dense."),
    ] = None,
    train: Annotated[
        list[str] | None,
        typer.Option("--train", metavar="NAME", help="Retrain the first --run this way; `all`, or `help` for a list."),
    ] = None,
    material: Annotated[Path | None, typer.Option("--material", help="Scenes material, for --train.")] = None,
    split: Annotated[str, typer.Option("--split", help="Source files to train on.")] = "train",
    seeds: Annotated[int, typer.Option("--seeds", help="Trainings of each kind.", min=1)] = 3,
    clips: Annotated[int, typer.Option("--cached", help="Fixed clips to train on.", min=1)] = 1000,
    steps: Annotated[int, typer.Option("--steps", help="Steps of each training.", min=1)] = 600,
    dense: Annotated[
        Path | None, typer.Option("--dense", help="For --train dense: the dense run whose encoders to keep.")
    ] = None,
    most: Annotated[
        int, typer.Option("--k", help="Focus on up to so many snippets too (in PyTorch, by the --run).", min=0)
    ] = 0,
    json: JsonOption = False,
) -> None:
    """Measure what each part of the method is worth, and write the tables and plots of docs/benchmarks/ablations.md.

    Goes on where it stopped: every answer and every finished training is kept in the output folder.
    """
    variations = import_extra("avgn.training.variations", "train", "avgn study")
    if train and "help" in train:
        console().print(variations.listed())
        return
    studying = import_extra("avgn.training.conduct", "train", "avgn study")
    others = [_named(text) for text in also or ()]
    says: dict[str, str] = {}
    if train:
        if not run or material is None:
            raise UsageError("--train needs a --run to start from, and --material to train on.")
        plan = variations.Plan(run[0], material, split, seeds, clips, steps, out / "trained", dense)
        trained = variations.retrain(plan, train, console(stderr=True))
        says = {name: variations.VARIATIONS[name].says for name, _ in trained}
        others += trained
    job = studying.Job(tuple(data), out, (*(bundle or ()), *(run or ())), tuple(others), says, most)
    found, page = studying.conduct(job, _rehearse, console(stderr=True))
    if json:
        print_json(found.as_json())
    else:
        console().print(str(page), markup=False, soft_wrap=True)


def _rehearse(folder: Path, room: int | None) -> Rehearsal:
    """A bundle on its own engine, a run in PyTorch, with room for so many snippets to focus on (None: its own k)."""
    import avgn
    from runtimes.ablated import Rehearsal

    if folder.suffix == ".avgn":
        return Rehearsal(avgn.load(folder))
    return Rehearsal(import_extra("export.common", "export", "avgn study --run").eager_classifier(folder, room=room))


def _named(text: str) -> tuple[str, Path]:
    name, equals, path = text.partition("=")
    if not (name and equals and path):
        raise UsageError(f"--also {text}: write NAME=RUN, such as dense=runs/dense.")
    return name, Path(path)
