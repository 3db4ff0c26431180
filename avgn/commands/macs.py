"""`avgn macs`: multiply-accumulates of a preset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from avgn.commands.options import JsonOption, console, print_json
from avgn.extras import import_extra

if TYPE_CHECKING:
    from avgn.config import Config


def macs(
    preset: Annotated[str, typer.Option("--preset", help="A preset by name, or a TOML file.")],
    json: JsonOption = False,
) -> None:
    """Count the multiply-accumulates of each stage (what the literature calls FLOPs)."""
    from avgn.config import load_config

    config = load_config(preset)
    per_call, per_video = _count(config)
    if json:
        print_json({"preset": preset, "per_call": per_call, "per_video": per_video})
        return
    from rich.table import Table

    table = Table("stage", "GMACs a call", "GMACs a video", box=None)
    for column in table.columns[1:]:
        column.justify = "right"
    for name, count in per_video.items():
        table.add_row(name, f"{per_call[name] / 1e9:.4f}" if name in per_call else "", f"{count / 1e9:.4f}")
    console().print(table)
    console().print(
        f"{config.snippets} snippets, {config.chosen} chosen; the total leaves out logmel, which hosts do with an FFT."
    )


def _count(config: Config) -> tuple[dict[str, int], dict[str, int]]:
    graphs = import_extra("export.graphs", "train", "avgn macs").graphs
    counting = import_extra("avgn.training.macs", "train", "avgn macs")
    model = import_extra("avgn.network.avgn", "train", "avgn macs").AVGN(config)
    table = {name: (graph.module, graph.example()) for name, graph in graphs(model).items()}
    per_call = counting.macs_by_graph(table)
    return per_call, counting.per_video(per_call, config)
