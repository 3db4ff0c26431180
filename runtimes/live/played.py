"""A live window over the snippets of a clip: what a stream does, without devices, for benchmarks."""

from __future__ import annotations

from time import perf_counter
from typing import TYPE_CHECKING

from avgn.logmel import LogMelWindow
from runtimes.live.window import Window

if TYPE_CHECKING:
    from avgn.snippets import Clip
    from runtimes.classifier import Classifier


class PlayedWindow(Window):
    """A `Window` that takes its snippets from `clip`, again and again from its start, `step` seconds apart."""

    def __init__(self, classifier: Classifier, clip: Clip, step: float) -> None:
        super().__init__(classifier)
        self.clip, self._step = clip, step
        self.taken = 0
        """Snippets since the start."""
        self._mel = LogMelWindow(classifier.config.sound)

    def take(self, count: int) -> None:
        """Glance at the next `count` snippets."""
        clip = self.clip
        for _ in range(count):
            began, place = perf_counter(), self.taken % len(clip.pictures)
            mel = self._mel(clip.sound[place], int(clip.starts[place])) if clip.heard[place] else None
            self.push(self.taken * self._step, clip.pictures[place], mel, perf_counter() - began)
            self.taken += 1
