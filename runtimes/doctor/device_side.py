"""Engines that load, and the bundle that ships."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path

from avgn.bundle import Bundle, open_bundle
from avgn.errors import AvgnError
from avgn.extras import install_line
from runtimes.backends import BACKENDS, Backend, choose_variant, open_engine
from runtimes.doctor.finding import Finding, State


def engine_findings(
    versions: Mapping[str, str],
    backends: Mapping[str, Backend] = BACKENDS,
    load: Callable[[str], object] = importlib.import_module,
) -> Iterator[Finding]:
    """Each engine: its version, and whether it loads."""
    for row in backends.values():
        if not row.at_home:
            yield Finding("engine", row.name, State.ABSENT, f"runs on {row.system} only")
            continue
        if not row.installed:
            yield Finding("engine", row.name, State.ABSENT, "not installed", install_line(row.extra))
            continue
        modules = (*row.needs, *([row.instead] if row.instead else []))
        held = [
            f"{name} {versions[name]}" for name in (module.replace("_", "-") for module in modules) if name in versions
        ]
        try:
            load(row.module)
        except Exception as fault:  # an engine of another version or with a missing library fails in any way
            says = f"{', '.join(held) or 'installed'}, but does not load ({type(fault).__name__}: {fault})"
            yield Finding("engine", row.name, State.PROBLEM, says, f"{install_line(row.extra)} --force-reinstall")
        else:
            yield Finding("engine", row.name, State.OK, ", ".join(held) or "loads")


def bundle_findings(path: Path, start: Callable[[Bundle], object] = open_engine) -> Iterator[Finding]:
    """Whether the bundle at `path` is whole, and an engine takes it."""
    mend = "pip install --force-reinstall --no-deps avgn"
    try:
        bundle = open_bundle(path)
        bundle.verify()
        backend, precision = choose_variant(bundle.variants(), "auto", None)
        yield Finding("device side", "bundle", State.OK, f"{path}: whole, run {bundle.manifest.run}")
        mend = install_line(BACKENDS[backend].extra) if backend in BACKENDS else mend
        start(bundle)
    except AvgnError as fault:
        yield Finding("device side", "bundle", State.PROBLEM, str(fault), mend, stops=True)
    else:
        yield Finding("device side", "decision", State.OK, f"{backend} {precision} is ready to decide")
