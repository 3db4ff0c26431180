"""The study as a page: Markdown tables, the claims and how they stand; as JSON, the same figures."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from avgn.schema import plain
from avgn.training.attention import MEASURED
from avgn.training.study import GROUPS, METHOD, Way
from avgn.training.study_figures import Figure, Row, verdicts

NOT_RUN = "not run"
KINDS = ("both", "heard", "seen")
Rows = Mapping[str, Row]


@dataclass(frozen=True)
class Other:
    """Another model beside the method's runs: `name` as it was called, and what it is."""

    name: str
    says: str


@dataclass(frozen=True)
class Study:
    """All that a study found. `sets`: rows by set of clips, the first the benchmark's own, by name of way or model."""

    made: str  # how, on what, with what
    runs: tuple[str, ...]
    chosen: int
    tried: tuple[Way, ...]
    others: tuple[Other, ...]
    sets: Mapping[str, Rows]
    attention: Mapping[str, Figure] = field(default_factory=dict)

    def as_json(self) -> dict[str, Any]:
        """Plain dicts and lists."""
        sets = {name: {row: plain(value) for row, value in rows.items()} for name, rows in self.sets.items()}
        claims = [{**plain(verdict), "told": verdict.told} for verdict in verdicts(self.first)]
        return {
            "made": self.made,
            "runs": list(self.runs),
            "chosen": self.chosen,
            "ways": {way.name: way.says for way in self.tried},
            "others": {other.name: other.says for other in self.others},
            "sets": sets,
            "attention": plain(dict(self.attention)),
            "claims": claims,
        }

    @property
    def first(self) -> Rows:
        """Rows of the benchmark's own clips."""
        return next(iter(self.sets.values()), {})


def page(study: Study, plots: Sequence[tuple[str, str]] = ()) -> str:
    """The Markdown page; `plots` are (file name, caption)."""
    parts = [_head(study), *(f"![{caption}]({name})\n" for name, caption in plots), _claims(study)]
    first = study.first
    for group, title in GROUPS.items():
        chosen = [way for way in study.tried if way.group == group]
        body = [_line(way.name, way.says, first.get(way.name)) for way in chosen]
        if body:  # a model with k = 1 has no smaller k
            parts.append(f"## {title}\n\n{_HEADING}" + "\n".join(body) + "\n")
    if study.others:
        body = [_line(other.name, other.says, first.get(other.name)) for other in study.others]
        parts.append(f"## Other models, other training\n\n{_OTHERS}\n\n{_HEADING}" + "\n".join(body) + "\n")
    parts += [_shifted(study), _attention(study)]
    return "\n".join(part for part in parts if part)


_HEADING = (
    "| what | top-1 | difference | `both` | `heard` | `seen` | mAP | saliency AP | patch hit | GMACs |\n"
    "|---|---|---|---|---|---|---|---|---|---|\n"
)
_OTHERS = "The difference is to the method's runs above, on the same clips; these models were trained on their own."


_HEAD = """# What each part of the method is worth

{made}

Runs: {runs}. Parts are replaced in the trained model, without retraining: a replaced part is judged by a net that
expects the real one. `difference` is top-1 minus the method's in points; brackets are 95 % bootstrap intervals over
clips, paired with the method's for differences. They say nothing about the spread between trainings: that is what
several runs are for, and then the least and the most stand behind top-1. A patch hits when it covers half of the true
box or more. MACs are multiply-accumulates. Names are those of `avgn evaluate --ablate help`.
"""


def _head(study: Study) -> str:
    return _HEAD.format(made=study.made, runs=", ".join(f"`{run}`" for run in study.runs) or NOT_RUN)


def _claims(study: Study) -> str:
    lines = ["## Claims, and how they stand\n", "| claim | found | |", "|---|---|---|"]
    for verdict in verdicts(study.first):
        found = NOT_RUN if verdict.found is None else _plainly(verdict.found)
        lines.append(f"| {verdict.says} | {found} | {'' if verdict.found is None else verdict.told} |")
    return "\n".join(lines) + "\n"


def _line(name: str, says: str, row: Row | None) -> str:
    what = f"`{name}`: {says.rstrip('.')}"
    if row is None:
        return f"| {what} | {NOT_RUN}{' |' * 9}"
    gain = "" if name == METHOD else _points(row.whole.gain)
    kinds = [_share(row.by_kind[kind].top1) if kind in row.by_kind else "" for kind in KINDS]
    cells = (what, _top1(row), gain, *kinds, f"{row.map:.3f}", _share(row.whole.saliency_ap))
    return f"| {' | '.join(cells)} | {_share(row.whole.patch_hit)} | {row.macs / 1e9:.2f} |"


def _top1(row: Row) -> str:
    told = f"{_plainly(row.whole.top1)}"
    return told if row.runs == 1 else f"{told}; {row.runs} runs {row.least:.3f} to {row.most:.3f}"


def _shifted(study: Study) -> str:
    names = list(study.sets)
    if len(names) < 2:
        return f"## Clips unlike those trained on\n\n{NOT_RUN.capitalize()}: give their folders too (`--data`).\n"
    tried = [way for way in study.tried if any(way.name in study.sets[name] for name in names[1:])]
    listed = [way.name for way in tried]
    lines = [
        "## Clips unlike those trained on\n",
        "Top-1, and the difference to the method on the same clips in points.\n",
        f"| what | {' | '.join(names)} |",
        f"|---|{'---|' * len(names)}",
    ]
    for name in listed:
        cells = [_brief(name, study.sets[place].get(name)) for place in names]
        lines.append(f"| `{name}` | {' | '.join(cells)} |")
    method = [study.sets[place].get(METHOD) for place in names]
    for title, measure in (("saliency AP of the method", "saliency_ap"), ("patch hit rate of the method", "patch_hit")):
        figures: list[Figure | None] = [None if row is None else getattr(row.whole, measure) for row in method]
        lines.append(f"| {title} | {' | '.join(NOT_RUN if f is None else _plainly(f) for f in figures)} |")
    return "\n".join(lines) + "\n"


def _brief(name: str, row: Row | None) -> str:
    if row is None:
        return NOT_RUN
    top1 = _plainly(row.whole.top1)
    return top1 if name == METHOD else f"{row.whole.top1.value:.3f}, {_points(row.whole.gain)}"


def _attention(study: Study) -> str:
    lines = [
        "## Does the sound point at the object?\n",
        "Correlation (Pearson's r over the cells of a frame, mean over frames in which the object of a `both` clip is\n"
        "seen and heard) with how much of each cell the true box covers. The measure is ours.\n",
        "| what | r |",
        "|---|---|",
    ]
    for name, says in MEASURED.items():
        figure = study.attention.get(name)
        lines.append(f"| {says} | {NOT_RUN if figure is None else _plainly(figure)} |")
    return "\n".join(lines) + "\n"


def _plainly(figure: Figure) -> str:
    if figure.low == figure.high:
        return f"{figure.value:.3f}"
    return f"{figure.value:.3f} ({figure.low:.3f} to {figure.high:.3f})"


def _points(figure: Figure) -> str:
    return f"{100 * figure.value:+.1f} ({100 * figure.low:+.1f} to {100 * figure.high:+.1f})"


def _share(figure: Figure | None) -> str:
    return "" if figure is None else f"{figure.value:.3f}"
