"""Decisions about what camera and microphone give, as it happens.

One loop in the caller's own thread: wait for the next snippet's time, take it, glance unless nothing stirs, and at
every hop decide. So no more than one decision is ever in flight. Who is late, the loop or the reader of its decisions,
finds the snippets and hops in between left out and counted, never queued.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from math import floor
from time import perf_counter
from typing import TYPE_CHECKING

from avgn.logmel import LogMelWindow
from runtimes.capture.source import State
from runtimes.classifier import Classifier
from runtimes.decision import best, softmax
from runtimes.live.budget import Budget
from runtimes.live.decision import Age, Dropped, LiveDecision, Moment, Skipped, milliseconds
from runtimes.live.gate import IdleGate, loudness
from runtimes.live.pictures import Remembered
from runtimes.live.settings import LiveSettings
from runtimes.live.window import Window

if TYPE_CHECKING:
    from runtimes.capture.source import Snippet, Source

Watcher = Callable[[Moment], None]


class Stream:
    """Iterate once to run it: it starts the source, gives a LiveDecision every hop, and closes the source at its end.

    It ends when the source does, or after `settings.duration`. `watchers` are told of every snippet, in the same
    thread: they must be quick. Where there is nothing to see nor to hear there is no decision; at rest there are only
    as many as there are glances.
    """

    def __init__(
        self,
        classifier: Classifier,
        source: Source,
        settings: LiveSettings | None = None,
        watchers: Sequence[Watcher] = (),
    ) -> None:
        self.classifier, self.source, self.watchers = classifier, source, tuple(watchers)
        self.settings = settings = settings or LiveSettings()
        config, price = classifier.config, classifier.meter.price
        budget = Budget(settings.focus_per_second, settings.macs_per_second, price("focus"), price("classify"))
        # snippets left out stretch the window; what is older than two windows is another story
        self._window = Window(classifier, budget, span=2 * config.snippets * settings.step)
        self._gate = IdleGate(settings.idle, config.frame.size) if settings.idle else None
        self._mel = LogMelWindow(config.sound)
        self._recent = min(config.sound.samples, round(config.sound.rate * settings.step))
        self._fresh = False  # glanced since the last decision
        self._worked = 0.0
        self.skipped = Skipped()

    def __iter__(self) -> Iterator[LiveDecision]:
        with closing(self.source):
            self.source.start()
            snippet = None
            for snippet, at_hop in self._snippets():
                self._take(snippet)
                if at_hop and self._can_decide:
                    yield self._decide(snippet)
            if snippet and self._can_decide:
                yield self._decide(snippet)

    def _snippets(self) -> Iterator[tuple[Snippet, bool]]:
        """Each snippet when its time has come, and whether a decision is due with it."""
        source, clock, step, every = self.source, self.source.clock, self.settings.step, self.settings.hop
        began = clock.now()
        last = floor(began / step)
        while True:
            clock.wait_until((last + 1) * step)
            tick = max(last + 1, floor(clock.now() / step + 1e-6))
            if source.status.state is State.ENDED or self._over(tick * step - began):
                return
            hops = tick // every - last // every
            self.skipped = Skipped(self.skipped.snippets + tick - last - 1, self.skipped.hops + max(0, hops - 1))
            yield source.snapshot(tick * step), hops > 0
            last = tick

    def _over(self, seconds: float) -> bool:
        duration = self.settings.duration
        return duration is not None and seconds > duration + 1e-6

    def _take(self, snippet: Snippet) -> None:
        began = perf_counter()
        picture = None if snippet.picture is None else Remembered(snippet.picture)
        level = loudness(snippet.sound[-self._recent :]) if snippet.heard else None
        if self._gate is None or self._gate.worth(snippet.time, picture, level):
            mel = self._mel(snippet.sound, snippet.start) if snippet.heard else None
            preparing = perf_counter() - began
            glance = self._window.push(snippet.time, picture, mel, preparing)
            self._fresh = True
        else:
            glance = self._window.repeat(snippet.time)
        self._worked += perf_counter() - began
        moment = Moment(
            time=snippet.time,
            picture=picture,
            centre=glance.centre,
            level=level,
            idle=self._gate is not None and self._gate.idle,
            status=self.source.status,
            counters=self.source.counters,
            skipped=self.skipped,
        )
        for watcher in self.watchers:
            watcher(moment)

    @property
    def _can_decide(self) -> bool:
        return self._fresh and not self._window.blank

    def _decide(self, snippet: Snippet) -> LiveDecision:
        began = perf_counter()
        source, engine = self.source, self.classifier.engine
        answer = self._window.decide()
        probabilities = softmax(answer.logits)
        top = best(probabilities, self.classifier.labels)
        counters, status = source.counters, source.status
        total, self._worked, self._fresh = self._worked + perf_counter() - began, 0.0, False
        since = source.clock.now() - snippet.time
        return LiveDecision(
            time=snippet.time,
            label=top[0].label,
            score=top[0].score,
            top=top,
            saliency=answer.saliency,
            selected=answer.selected,
            new_focus=answer.new_focus,
            age_ms=Age(milliseconds(snippet.frame_age + since), milliseconds(snippet.sound_age + since)),
            dropped=Dropped(counters.dropped_frames, counters.dropped_sound_ms),
            av_offset_ms=snippet.av_offset * 1e3,
            heard=answer.heard,
            seen=answer.seen,
            timings_ms={**answer.timings_ms, "total": total * 1e3},
            times=answer.times,
            centres=answer.centres,
            k=answer.k,
            exited=answer.exited,
            idle=self._gate is not None and self._gate.idle,
            macs=answer.macs,
            skipped=self.skipped,
            picture=status.picture.state,
            sound=status.sound.state,
            drift_ppm=source.drift_ppm,
            backend=engine.backend,
            precision=engine.precision,
            scores=dict(zip(self.classifier.labels, probabilities, strict=True)),
        )
