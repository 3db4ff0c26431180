"""The last T snippets, and what was found in each: nothing is looked at twice while the window slides.

A snippet goes once through `glance`, its patch at most once through `focus`; only `select` and `classify` see the whole
window. So the answer is that of the whole window judged from scratch, at the price of what is new in it.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass, replace
from math import inf
from time import perf_counter
from typing import TYPE_CHECKING

from avgn.selection import top_k
from runtimes.classifier import MIDDLE, Choice, Classifier, Floats, Glance, Look, gathered
from runtimes.live.budget import Budget

if TYPE_CHECKING:
    from avgn.snippets import Picture


@dataclass(frozen=True, eq=False)
class Answer:
    """What the window came to: `logits` [C]; for each of its T places, oldest first, `saliency` and `times`.

    Places before the first snippet have no time and the saliency of nothing. `selected` are the chosen places, rising,
    and `centres` the middles (y, x in 0..1) of their patches. `k` is how many were chosen: fewer than asked for where
    there are not as many snippets or the budget did not reach. `new_focus`: for how many of them the focus net was
    run. `exited`: the glance's own answer stands. `macs` and `timings_ms` (by graph, `prepare`: making pixels and
    log-mel, `crop`: making patches) count all work since the answer before.
    """

    times: tuple[float | None, ...]
    saliency: tuple[float, ...]
    selected: tuple[int, ...]
    centres: tuple[tuple[float, float], ...]
    new_focus: int
    exited: bool
    logits: Floats
    heard: bool
    seen: bool
    macs: int
    timings_ms: dict[str, float]

    @property
    def k(self) -> int:
        """How many snippets were chosen."""
        return len(self.selected)


class _Found:
    """A snippet's glance, and the look at its patch once there was one; the picture is kept until then."""

    def __init__(self, glance: Glance, picture: Picture | None) -> None:
        self.glance, self.picture = glance, picture
        self.look: Look | None = None

    @property
    def unseen(self) -> bool:
        """Whether there is a patch that the focus net has not seen."""
        return self.look is None and self.picture is not None


class Window:
    """Slides over snippets: `push` each, `decide` whenever an answer is wanted. One thread at a time.

    `budget` says how many focus calls an answer may cost (left out: as many as are new). Snippets older than `span`
    seconds against the newest leave, however few are left: after a long pause the past does not speak.
    """

    def __init__(self, classifier: Classifier, budget: Budget | None = None, span: float = inf) -> None:
        self._classifier = classifier
        self._budget = budget or Budget()
        self._span = span
        self._nothing = _Found(classifier.nothing, None)
        self._entries: deque[tuple[float, _Found]] = deque(maxlen=classifier.config.snippets)
        self._preparing = self._cropping = 0.0
        classifier.meter.reset()

    def __len__(self) -> int:
        return len(self._entries)

    def push(self, time: float, picture: Picture | None, mel: Floats | None, preparing: float = 0.0) -> Glance:
        """Glance at the snippet of `time` (seconds, rising): its picture and its log-mel [1,M,F], None if missing.

        The oldest leaves a full window. `preparing`: seconds already spent on it.
        """
        began = perf_counter()
        self._classifier.prepare(0, picture, mel)
        self._preparing += preparing + perf_counter() - began
        glance = self._classifier.glance(0)
        self._append(time, _Found(glance, picture))
        return glance

    def repeat(self, time: float) -> Glance:
        """Take the newest snippet for that of `time` too, unglanced; IndexError where the window is empty."""
        found = self._entries[-1][1]
        self._append(time, found)
        return found.glance

    def _append(self, time: float, found: _Found) -> None:
        self._entries.append((time, found))
        while time - self._entries[0][0] > self._span:
            self._entries.popleft()

    @property
    def blank(self) -> bool:
        """Whether there is neither picture nor sound in the whole window: nothing to judge by."""
        return not any(found.glance.seen or found.glance.heard for _, found in self._entries)

    def decide(self, may_exit: bool = True) -> Answer:
        """Judge the window. Where it is not full yet, the missing snippets come first and are masked.

        `may_exit`: where the glance is sure enough, its answer stands; False looks closer all the same. Raises
        ValueError where the window is `blank`.
        """
        if self.blank:
            raise ValueError("the window holds neither picture nor sound")
        classifier = self._classifier
        missing = classifier.config.snippets - len(self._entries)
        found = [self._nothing] * missing + [entry for _, entry in self._entries]
        glances = gathered([entry.glance for entry in found])
        self._budget.earn(self._entries[-1][0])
        choice = classifier.choose(glances)
        exited = may_exit and classifier.exits(choice)
        choice, new = (replace(choice, selected=()), []) if exited else self._affordable(choice, found)
        looks = self._looks(choice, found, new)
        # where not even one look can be paid, the glance's own answer stands as well
        logits = classifier.decide(choice, glances, looks) if choice.selected else choice.logits
        meter = classifier.meter
        answer = Answer(
            times=(*[None] * missing, *(time for time, _ in self._entries)),
            saliency=tuple(choice.saliency.tolist()),
            selected=choice.selected,
            centres=tuple(looks[index].centre if index in looks else MIDDLE for index in choice.selected),
            new_focus=len(new),
            exited=not choice.selected,
            logits=logits,
            heard=bool(glances.heard.any()),
            seen=bool(glances.seen.any()),
            macs=meter.macs,
            timings_ms={"prepare": self._preparing * 1e3, "crop": self._cropping * 1e3, **meter.ms},
        )
        self._budget.spend(answer.new_focus, answer.macs)
        self._preparing = self._cropping = 0.0
        meter.reset()
        return answer

    def _affordable(self, choice: Choice, found: list[_Found]) -> tuple[Choice, list[int]]:
        """The most salient that exist and can be paid, and which of them the focus net has not seen (none twice)."""
        present = sum(entry.glance.seen or entry.glance.heard for entry in found)
        for k in range(min(self._classifier.k, present), 0, -1):
            selected = top_k(choice.saliency, k)
            new = {id(found[index]): index for index in selected if found[index].unseen}
            if self._budget.allows(len(new)):
                return replace(choice, selected=selected), list(new.values())
        return replace(choice, selected=()), []

    def _looks(self, choice: Choice, found: list[_Found], new: list[int]) -> dict[int, Look]:
        """The looks of the chosen, by place; the focus net runs on the patches of `new` only."""
        began, middles = perf_counter(), {}
        for slot, index in enumerate(new):
            picture = found[index].picture
            assert picture is not None, "only snippets with a picture are looked at"
            middles[index] = self._classifier.prepare_patch(slot, picture, found[index].glance.centre)
        self._cropping = perf_counter() - began if new else 0.0
        for index, look in self._classifier.look_all(middles).items():
            found[index].look, found[index].picture = look, None
        known = {index: found[index].look for index in choice.selected}
        return {index: look for index, look in known.items() if look is not None}
