"""Live: the work of one hop against judging the whole window from scratch, which is what it saves."""

from __future__ import annotations

from dataclasses import replace
from math import gcd
from typing import TYPE_CHECKING

import numpy as np

from runtimes.contestant import Contest, Contestant, Subject, Timed, timed, timed_twin
from runtimes.live.played import PlayedWindow
from runtimes.live.settings import LiveSettings
from runtimes.live.window import Answer
from runtimes.profile.workload import read_material

if TYPE_CHECKING:
    from avgn.snippets import Clip
    from runtimes.classifier import Classifier
    from runtimes.decision import Decision

HOP, HOST, WHOLE = "live hop", "live hop, our code", "whole window"


class Slide:
    """A live window that slides over `clip` again and again, `new` snippets a hop, full from the start."""

    def __init__(self, classifier: Classifier, clip: Clip, settings: LiveSettings) -> None:
        self._classifier, self._settings = classifier, settings
        self._window = PlayedWindow(classifier, clip, settings.step)
        self._window.take(classifier.config.snippets)
        self._window.decide()

    @property
    def period(self) -> int:
        """Hops until the same snippets come again."""
        count = len(self._window.clip.pictures)
        return count // gcd(count, self._settings.hop)

    def hop(self) -> Answer:
        """Take in what is new, and decide."""
        self._window.take(self._settings.hop)
        return self._window.decide()

    def whole(self) -> Decision:
        """The same window from scratch."""
        count, clip, taken = self._classifier.config.snippets, self._window.clip, self._window.taken
        places = np.arange(taken - count, taken) % len(clip.pictures)
        window = replace(
            clip,
            times=clip.times[places],
            pictures=tuple(clip.pictures[place] for place in places),
            sound=clip.sound[places],
            starts=clip.starts[places],
            heard=clip.heard[places],
            seen=clip.seen[places],
        )
        return self._classifier.classify_clip(window)


def whole_window(contest: Contest) -> list[Contestant]:
    """For each variant: a hop, and the window that it ends with from scratch; decoding is part of neither.

    A hop is the mean of all until the same snippets come again, since the focus net is called in some of them only. And
    what of a hop is neither the engine's own calls nor making pixels, log-mels and patches.
    """
    return [_contestant(subject) for subject in contest.subjects]


def _contestant(subject: Subject) -> Contestant:
    classifier, engine = timed_twin(subject)
    slide = Slide(classifier, read_material(subject.clip, classifier), LiveSettings())
    hops = [slide.hop().macs for _ in range(slide.period)]
    macs = {HOP: round(sum(hops) / len(hops)), HOST: 0, WHOLE: slide.whole().macs}

    def measure() -> Timed:
        engine.spent.clear()
        answers: list[Answer] = []
        hop = timed(lambda: answers.append(slide.hop()), slide.period)
        prepared = sum(answer.timings_ms[step] for answer in answers for step in ("prepare", "crop"))
        host = hop - prepared - sum(engine.spent.values())
        return {HOP: hop / slide.period, HOST: host / slide.period, WHOLE: timed(slide.whole)}

    return subject.contestant(macs, measure)
