"""`avgn doctor`: what works on this machine, and what to do about the rest."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

import typer

from avgn.commands.options import JsonOption, console, print_json, printable

if TYPE_CHECKING:
    from runtimes.doctor.finding import Finding

COLOURS = {"ok": "green", "absent": "", "doubt": "yellow", "problem": "red"}


def doctor(json: JsonOption = False) -> None:
    """Look at engines, versions, cameras, microphones, processor, accelerators and disk. Installs nothing.

    Exits 4 where no decision can be made on this machine, and 0 else.
    """
    from runtimes.doctor.examination import examine, works

    findings = examine()
    able = works(findings)
    if json:
        print_json({"works": able, "findings": [asdict(finding) for finding in findings]})
    else:
        for finding in findings:
            _show(finding)
        console().print("decisions can be made here" if able else "no decision can be made here")
    if not able:
        raise typer.Exit(4)


def _show(finding: Finding) -> None:
    from rich.text import Text

    told = printable(f" {finding.area}: {finding.name}: {finding.says}")
    console().print(Text.assemble((f"{finding.state:<8}", COLOURS[finding.state]), told), soft_wrap=True)
    if finding.mend:
        console().print(f"         -> {finding.mend}", markup=False, soft_wrap=True)
