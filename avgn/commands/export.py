"""`avgn export`: a run becomes the graphs of one or more engines, each with its proof."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from avgn.commands.options import JsonOption, console, print_json
from avgn.extras import import_extra


def export(
    out: Annotated[Path, typer.Option("--out", help="Bundle (NAME.avgn) to write or add to.")],
    run: Annotated[Path | None, typer.Option("--run", help="Folder of a run (default: the one that ships).")] = None,
    to: Annotated[
        str,
        typer.Option(
            "--to", help="Formats, comma separated: openvino, executorch, executorch_coreml, coreml, tflite, onnx."
        ),
    ] = "openvino",
    precision: Annotated[str, typer.Option("--precision", help="Precisions, comma separated.")] = "fp32",
    clips: Annotated[
        list[Path] | None, typer.Option("--clips", help="Clip to prove the export on, again for more.")
    ] = None,
    batch: Annotated[int, typer.Option("--batch", help="Patches that one call of focus takes, 1 to k.")] = 1,
    json: JsonOption = False,
) -> None:
    """Export a run, and prove on real clips that the files compute what PyTorch computes."""
    common = import_extra("export.common", "export", "avgn export")
    main = import_extra("export.main", "export", "avgn export")
    paths = tuple(clips or (common.DEFAULT_CLIPS,))
    request = main.Request(run or common.DEFAULT_RUN, tuple(precision.split(",")), out, paths, batch)
    formats = to.split(",")
    for name in formats:  # every one, before the first costly step
        main.check_request(name, request)
    reports: list[Any] = []
    for name in formats:
        reports += main.run_format(name, request, console(stderr=True))
    if json:
        print_json([report.as_json() for report in reports])
    else:
        console().print(str(out), markup=False, soft_wrap=True)
