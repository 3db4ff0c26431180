"""`avgn info`: what is in a bundle, with every digest checked."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from avgn.commands.options import JsonOption, console, print_json
from avgn.schema import plain

if TYPE_CHECKING:
    from rich.console import Console

    from avgn.bundle import Bundle
    from avgn.manifest import GraphRecord, Manifest


def info(
    bundle: Annotated[Path | None, typer.Argument(help="A bundle (default: the one that ships).")] = None,
    json: JsonOption = False,
) -> None:
    """Say what is in a bundle, and check that its files are what its manifest says."""
    from avgn.bundle import default_bundle, open_bundle

    opened = open_bundle(bundle or default_bundle())
    opened.verify()
    if json:
        print_json(_as_json(opened))
    else:
        _show(opened)


def _as_json(bundle: Bundle) -> dict[str, Any]:
    return {
        "path": str(bundle.path),
        "digest": bundle.digest(),
        "verified": True,
        "bytes": sum(_size(record) for record in bundle.manifest.graphs),
        "variants": [list(variant) for variant in bundle.variants()],
        "manifest": plain(bundle.manifest),
    }


def _size(record: GraphRecord) -> int:
    return sum(file.size for file in record.files)


def _show(bundle: Bundle) -> None:
    screen, manifest = console(), bundle.manifest
    config, sound = manifest.config, manifest.config.sound
    said = {
        "bundle": f"{manifest.name}, {bundle.path}",
        "run": f"{manifest.run}, created {manifest.created}",
        "digest": f"{bundle.digest()}, all files verified",
        "labels": f"{len(manifest.labels)}: {', '.join(manifest.labels[:20])}{', …' * (len(manifest.labels) > 20)}",
        "window": f"{config.snippets} snippets, {config.chosen} chosen",
        "picture": f"{config.frame.encoder} at {config.frame.size} px",
        "sound": f"{sound.encoder}, {sound.mels} bands, {sound.seconds:.2f} s at {sound.rate} Hz",
        "patch": f"{config.focus.encoder} at {config.patch.size} px, from {config.patch.short_side} px",
        "exit": str(manifest.exit_confidence or "off"),
        "tools": ", ".join(f"{tool} {text}" for tool, text in manifest.tools.items()) or "not said",
    }
    for key, text in said.items():
        screen.print(f"{key:<9} {text}", markup=False, soft_wrap=True)
    _show_graphs(screen, manifest)
    _show_accuracy(screen, manifest)
    for source in manifest.sources:
        screen.print(f"source    {source.what}: {source.licence}, {source.where}", markup=False, soft_wrap=True)


def _show_graphs(screen: Console, manifest: Manifest) -> None:
    from rich.table import Table
    from rich.text import Text

    table = Table("graph", "backend", "precision", "kB", "GMACs", "parity to PyTorch", box=None)
    for record in manifest.graphs:
        parity = record.parity
        told = parity if isinstance(parity, str) else f"max {parity.max_error:.1e}, {parity.psnr_db:.0f} dB"
        figures = (f"{_size(record) / 1e3:.0f}", f"{record.macs / 1e9:.4f}")
        table.add_row(record.graph, record.backend, record.precision, *figures, Text(told))
    screen.print(table)


def _show_accuracy(screen: Console, manifest: Manifest) -> None:
    if isinstance(manifest.accuracy, str):
        screen.print(f"accuracy  {manifest.accuracy}", markup=False, soft_wrap=True)
        return
    for row in manifest.accuracy:
        told = f"{row.top1:.1%} ({row.low:.1%} to {row.high:.1%}), {row.clips} clips of {row.data} {row.split}"
        screen.print(f"accuracy  {row.backend} {row.precision}: {told}", markup=False, soft_wrap=True)
