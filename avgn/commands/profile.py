"""`avgn profile`: latency, energy and heat of this device, and whether the run can be trusted."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from avgn.commands.options import (
    BackendOption,
    BundleOption,
    CacheOption,
    PrecisionOption,
    StreamThreadsOption,
    console,
    print_json,
)
from avgn.errors import ProofError, UsageError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from runtimes.profile.profiler import Request
    from runtimes.profile.run import Plan
    from runtimes.profile.sections import Section

STANDARD_OUTPUT = Path("-")
_FILES_ONLY = ("Over time", "Operators", "Operators by kind")  # too long for a terminal


def profile(
    duration: Annotated[float, typer.Option("--duration", help="Seconds that are measured.")] = 60.0,
    cadence: Annotated[float, typer.Option("--cadence", help="Decisions a second, at the real rate.")] = 2.0,
    snippets: Annotated[int, typer.Option("--snippets", help="New snippets for each decision.")] = 2,
    keep_warm: Annotated[
        bool, typer.Option("--keep-warm", help="One more phase: calls between decisions keep the clocks up.")
    ] = False,
    clip: Annotated[Path | None, typer.Option("--clip", help="Video to run on (default: the sample).")] = None,
    rail: Annotated[
        str | None, typer.Option("--rail", help="Power rail whose energy is told (default: the total, if any).")
    ] = None,
    json: Annotated[Path | None, typer.Option("--json", metavar="OUT", help="Report as JSON; - prints it.")] = None,
    html: Annotated[Path | None, typer.Option("--html", metavar="OUT", help="Report as one HTML file.")] = None,
    markdown: Annotated[Path | None, typer.Option("--markdown", metavar="OUT", help="Report as Markdown.")] = None,
    samples: Annotated[
        Path | None,
        typer.Option("--samples", metavar="OUT", help="Raw samples as JSONL (default: beside the JSON report)."),
    ] = None,
    compare: Annotated[
        tuple[Path, Path] | None, typer.Option("--compare", metavar="A B", help="Compare two JSON reports instead.")
    ] = None,
    sensors: Annotated[bool, typer.Option("--sensors", help="Only print what the sensors say, as JSON.")] = False,
    require_valid: Annotated[bool, typer.Option("--require-valid", help="Fail (exit 5) where INVALID.")] = False,
    root: Annotated[
        Path, typer.Option("--root", help="Read the sensors below this folder, a copied tree, to try what they do.")
    ] = Path("/"),
    bundle: BundleOption = None,
    backend: BackendOption = "auto",
    precision: PrecisionOption = None,
    threads: StreamThreadsOption = 1,
    cache: CacheOption = None,
) -> None:
    """Profile this device: latency back to back and at the real rate, energy, heat, and a verdict on the run."""
    if compare:
        _compare(*compare, json, html, markdown)
        return
    if not root.is_dir():
        raise UsageError(f"{root}: is not a folder; give the root of a copied tree.")
    if sensors:
        from runtimes.profile.sensors.snapshot import read_sensors
        from runtimes.profile.sensors.tree import Tree

        print_json(read_sensors(Tree(root)).as_json())
        return
    from runtimes.profile.profiler import Request
    from runtimes.profile.run import Plan

    plan = Plan(duration, cadence, keep_warm)
    request = Request(backend, precision, threads, cache, clip, snippets, rail, root)
    _run(bundle, plan, request, (json, html, markdown, samples), require_valid)


def _run(bundle: Path | None, plan: Plan, request: Request, places: tuple[Path | None, ...], strict: bool) -> None:
    from avgn.bundle import default_bundle, open_bundle
    from avgn.files import write_file
    from runtimes.profile.html import to_html
    from runtimes.profile.markdown import to_markdown
    from runtimes.profile.profiler import profile
    from runtimes.profile.report import to_json
    from runtimes.profile.samples import sample_lines
    from runtimes.profile.sections import headline, sections

    json, html, markdown, samples = places
    screen = console(stderr=True)

    def step(name: str, seconds: float) -> None:
        # plain lines: a bar that moves would run beside what is measured
        screen.print(f"{name}: {seconds:.0f} s", markup=False)

    report, course = profile(open_bundle(bundle or default_bundle()), plan, request, step)
    found = sections(report)
    if json == STANDARD_OUTPUT:
        print_json(report.as_json())
    elif json:
        write_file(json, to_json(report))
        samples = samples or json.with_suffix(".samples.jsonl")
    if html:
        write_file(html, to_html(report))
    if markdown:
        write_file(markdown, to_markdown("avgn profile", f"{headline(report)}. {report.verdict}", found))
    if samples:
        write_file(samples, "".join(sample_lines(course)))
    if json != STANDARD_OUTPUT:
        _show([section for section in found if section.title not in _FILES_ONLY], str(report.verdict))
        for place in filter(None, (json, html, markdown, samples)):
            console().print(f"written: {place}", markup=False, soft_wrap=True)
    if strict and not report.verdict.valid:
        raise ProofError(f"profile: {report.verdict}.")


def _compare(a: Path, b: Path, json: Path | None, html: Path | None, markdown: Path | None) -> None:
    from avgn.files import write_file
    from runtimes.profile.compare import compare, comparison_sections
    from runtimes.profile.html import comparison_html
    from runtimes.profile.markdown import to_markdown
    from runtimes.profile.report import read_report

    found = compare(read_report(a), read_report(b))
    shown = comparison_sections(found)
    if json == STANDARD_OUTPUT:
        print_json(found.as_json())
        return
    if json:
        from json import dumps

        write_file(json, dumps(found.as_json(), indent=1, ensure_ascii=False) + "\n")
    if html:
        write_file(html, comparison_html(found))
    if markdown:
        write_file(markdown, to_markdown("Two profiles", "", shown))
    _show(shown, "")


def _show(found: Sequence[Section], verdict: str) -> None:
    from rich.table import Table
    from rich.text import Text

    screen = console()
    for section in found:
        screen.print(Text(section.title, style="bold"))
        if section.text:
            screen.print(section.text, markup=False, soft_wrap=True)
        if section.rows:
            table = Table(*section.header, box=None)
            for column in table.columns[section.numbers :]:
                column.justify = "right"
            for row in section.rows:
                table.add_row(*map(Text, row))
            screen.print(table)
        screen.print()
    if verdict:
        screen.print(verdict, markup=False, soft_wrap=True)
