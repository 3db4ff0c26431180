"""`avgn study` from beginning to end: which models, on which clips, and where the answers go."""

from __future__ import annotations

import json
import platform
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import torch
from rich.console import Console
from rich.progress import track

from avgn.data.scenes import SceneRecord, read_scenes
from avgn.errors import InputError, UsageError
from avgn.files import write_file
from avgn.network.checkpoint import load_run, read_run
from avgn.training.attention import attention_figures
from avgn.training.dense import dense_decider
from avgn.training.evaluation import ClipResult
from avgn.training.study import METHOD, Store, Way, measure, measure_alone, more_ways, shifted_ways, ways
from avgn.training.study_figures import Figure, Row, make_row
from avgn.training.study_page import Other, Study, page
from avgn.training.study_plots import draw

if TYPE_CHECKING:
    from runtimes.ablated import Rehearsal

Rehearse = Callable[[Path, int | None], "Rehearsal"]
Scenes = list[tuple[Path, SceneRecord]]
PAGE = "ablations.md"


@dataclass(frozen=True)
class Job:
    """What to study: folders of clips (the benchmark's own first), models, and (name, run) of others to compare."""

    data: tuple[Path, ...]
    out: Path
    models: tuple[Path, ...]  # runs and bundles of the method: seeds of one recipe
    others: tuple[tuple[str, Path], ...] = ()
    says: Mapping[str, str] = field(default_factory=dict)  # of others by name, where more is known than their runs tell
    most: int = 0  # focus on up to so many snippets as well, in PyTorch: graphs have room for the model's own k

    @property
    def runs(self) -> list[Path]:
        """Those of `models` that are runs."""
        return [path for path in self.models if path.suffix != ".avgn"]


def conduct(job: Job, rehearse: Rehearse, console: Console) -> tuple[Study, Path]:
    """Answer what is not answered yet; write the page, its plots and the figures; returns the study and the page.

    `rehearse` opens a run or a bundle, a run with room for so many snippets to focus on (None: its own k). Raises
    UsageError for models that do not belong together.
    """
    if not job.models:
        raise UsageError("avgn study: name at least one --run or --bundle.")
    if job.most and not job.runs:
        raise UsageError(f"avgn study: to focus on up to {job.most} snippets, name a --run beside its bundle.")
    sets = _open_sets(job.data)
    answers: dict[str, dict[str, list[Store]]] = {name: {} for name in sets}  # by set, by model's name
    identities: dict[Path, str] = {}
    chosen = 0
    for folder in _method_models(job.models):
        rehearsal = rehearse(folder, None)
        manifest = rehearsal.bundle.manifest
        if identities and chosen != rehearsal.k:
            raise UsageError(f"{folder}: chooses {rehearsal.k} snippets, the others {chosen}; give it with --also.")
        identities[folder], chosen = f"{manifest.run}-{rehearsal.engine.backend}", rehearsal.k
        for name, tried in _tried(sets, chosen).items():
            store, watched = _store(job.out, identities[folder], name), _watched(sets[name], folder, name, console)
            measure(rehearsal, watched, rehearsal.labels, rehearsal.config, tried, store)
            answers[name].setdefault(METHOD, []).append(store)
    first, more = next(iter(sets)), more_ways(chosen, job.most)
    for other, folder in job.others:
        store = _other_answers(job.out, folder, first, sets[first], rehearse, console)
        answers[first].setdefault(other, []).append(store)
    rows = {name: _rows(sets[name], answers[name], _tried(sets, chosen)[name]) for name in sets}
    rows[first] |= _rows_of_more(job, first, sets[first], more, rehearse, console)
    study = Study(
        _made(sets, len(identities)),
        tuple(identities.values()),
        chosen,
        ways(chosen) + more[1:],
        tuple(Other(name, _told(job.says.get(name), folder)) for name, folder in dict(job.others).items()),
        rows,
        _attention(job, next(iter(sets.values())), console),
    )
    write_file(job.out / "ablations.json", json.dumps(study.as_json(), indent=1, allow_nan=False) + "\n")
    write_file(job.out / PAGE, page(study, draw(study, job.out)))
    return study, job.out / PAGE


def _open_sets(folders: Sequence[Path]) -> dict[str, Scenes]:
    sets: dict[str, Scenes] = {}
    for folder in folders:
        place = folder if folder.is_dir() else folder.parent
        if place.resolve().name in sets:
            raise UsageError(f"{folder}: two sets of clips are called {place.resolve().name!r}; rename one folder.")
        records = read_scenes(folder)
        if not records:
            raise InputError(f"{folder}: holds no clips; render some with `avgn scenes`.")
        sets[place.resolve().name] = [(place / record.file, record) for record in records]
    return sets


def _method_models(models: Sequence[Path]) -> list[Path]:
    """A run whose bundle is there too is answered for by the bundle, which is faster."""
    from avgn.bundle import open_bundle

    bundles = [path for path in models if path.suffix == ".avgn"]
    bundled = {open_bundle(path).manifest.run for path in bundles}
    return bundles + [path for path in models if path not in bundles and read_run(path).run not in bundled]


def _tried(sets: dict[str, Scenes], chosen: int) -> dict[str, tuple[Way, ...]]:
    """All ways on the first set, few on the others."""
    return {name: shifted_ways(chosen) if number else ways(chosen) for number, name in enumerate(sets)}


def _store(out: Path, identity: str, name: str) -> Store:
    return Store(out / "answers" / f"{identity}-{name}.jsonl")


def _watched(scenes: Scenes, folder: Path, name: str, console: Console) -> Iterable[tuple[Path, SceneRecord]]:
    return track(scenes, f"{folder.name} on {name}", console=console, transient=True)


def _other_answers(out: Path, folder: Path, name: str, scenes: Scenes, rehearse: Rehearse, console: Console) -> Store:
    """A compared model decides in its own way only, and on the benchmark's own clips."""
    watched = _watched(scenes, folder, name, console)
    if folder.suffix != ".avgn" and read_run(folder).network == "dense":
        labels, decide = dense_decider(folder)
        store = _store(out, f"{read_run(folder).run}-torch", name)
        measure_alone(decide, watched, labels, store)
        return store
    rehearsal = rehearse(folder, None)
    store = _store(out, f"{rehearsal.bundle.manifest.run}-{rehearsal.engine.backend}", name)
    measure(rehearsal, watched, rehearsal.labels, rehearsal.config, ways(rehearsal.k)[:1], store)
    return store


def _rows(scenes: Scenes, answers: dict[str, list[Store]], tried: Sequence[Way]) -> dict[str, Row]:
    method = _results(scenes, answers[METHOD], METHOD)
    rows = {way.name: make_row(way.name, _results(scenes, answers[METHOD], way.name), method) for way in tried}
    others = {name: _results(scenes, stores, METHOD) for name, stores in answers.items() if name != METHOD}
    return rows | {name: make_row(name, found, method) for name, found in others.items()}


def _rows_of_more(
    job: Job, name: str, scenes: Scenes, tried: Sequence[Way], rehearse: Rehearse, console: Console
) -> dict[str, Row]:
    """Rows of the runs with more snippets than their own, each beside the method as PyTorch has it."""
    if len(tried) == 1:
        return {}
    stores = []
    for folder in job.runs:
        rehearsal = rehearse(folder, job.most)
        store = _store(job.out, f"{rehearsal.bundle.manifest.run}-{rehearsal.engine.backend}", name)
        watched = _watched(scenes, folder, f"{name}, k up to {job.most}", console)
        measure(rehearsal, watched, rehearsal.labels, rehearsal.config, tried, store)
        stores.append(store)
    method = _results(scenes, stores, METHOD)
    return {way.name: make_row(way.name, _results(scenes, stores, way.name), method) for way in tried[1:]}


def _results(scenes: Scenes, stores: Sequence[Store], way: str) -> list[list[ClipResult]]:
    """By store that has answers to that way, then by clip."""
    clips = [record.file for _, record in scenes]
    return [found for store in stores if (found := store.results(way, clips)) is not None]


def _attention(job: Job, scenes: Scenes, console: Console) -> dict[str, Figure]:
    """Needs the attention's own weights, which no graph gives: the first run, if one was named."""
    if not job.runs:
        return {}
    first = job.runs[0]
    return attention_figures(load_run(first)[0], _watched(scenes, first, "attention", console))


def _told(says: str | None, folder: Path) -> str:
    """What another model is, and how it was trained (whatever its seed)."""
    if folder.suffix == ".avgn":
        return says or "a bundle"
    run = read_run(folder)
    trained = run.trained.split(", seed")[0]
    return f"{says.rstrip('.')} ({trained})" if says else f"{run.network}, {trained}"


def _made(sets: dict[str, Scenes], models: int) -> str:
    told = ", ".join(
        f"{len(scenes)} rendered clips of `{name}` (split {'+'.join(sorted({r.split for _, r in scenes}))})"
        for name, scenes in sets.items()
    )
    one = "One training seed" if models == 1 else f"{models} trainings"
    return (
        f"Written by `avgn study` on {told}. {one}. Python {platform.python_version()}, PyTorch "
        f"{torch.__version__.split('+')[0]}."
    )
