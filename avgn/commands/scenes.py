"""`avgn scenes`: render clips of the Scenes benchmark."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from avgn.commands.options import JsonOption, console, print_json
from avgn.extras import import_extra


def scenes(
    material: Annotated[Path, typer.Option("--material", help="Folder with images, sounds, backgrounds, noise.")],
    out: Annotated[Path, typer.Option("--out", help="Folder for the clips and scenes.jsonl.")],
    split: Annotated[str, typer.Option("--split", help="train, val, test, or all: every source file.")] = "test",
    clips: Annotated[int, typer.Option("--clips", help="How many clips.")] = 300,
    seed: Annotated[int, typer.Option("--seed", help="Same seed, same clips.")] = 0,
    tiny: Annotated[bool, typer.Option("--tiny", help="Objects of 15 to 25 % of the short side.")] = False,
    louder: Annotated[bool, typer.Option("--louder", help="Noise 10 to 0 dB above the sounds.")] = False,
    json: JsonOption = False,
) -> None:
    """Render short videos whose salient moments and boxes are known."""
    from rich.progress import Progress

    rendering = import_extra("avgn.data.scenes", "train", "avgn scenes")
    sources = import_extra("avgn.data.material", "train", "avgn scenes")
    plans = import_extra("avgn.data.plan", "train", "avgn scenes")
    loaded = sources.load_material(material, split)
    with Progress(console=console(stderr=True)) as bar:
        task = bar.add_task("scenes", total=clips)
        records = rendering.render_all(
            loaded, out, clips, seed, plans.settings(tiny, louder), lambda done, _: bar.update(task, completed=done)
        )
    kinds = {kind: sum(record.kind == kind for record in records) for kind in sorted({r.kind for r in records})}
    if json:
        print_json({"out": str(out), "clips": len(records), "kinds": kinds, "labels": list(loaded.classes)})
        return
    told = ", ".join(f"{count} {kind}" for kind, count in kinds.items())
    console().print(f"{len(records)} clips ({told}) in {out}", markup=False, soft_wrap=True)
