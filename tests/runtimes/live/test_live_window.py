"""The sliding window against the same snippets judged from scratch, and what it must not do twice."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import scripted
import tiny
from avgn.bundle import open_bundle
from avgn.logmel import LogMelWindow, log_mel
from avgn.snippets import Clip
from runtimes.backends import open_engine
from runtimes.classifier import Classifier
from runtimes.live.budget import Budget
from runtimes.live.window import Window

T = tiny.CONFIG.snippets
SOUND = tiny.SOUND
STEP = 0.25


class Spy(tiny.NumpyEngine):
    """Remembers the logits of each answer."""

    def run(self, graph, inputs):
        outputs = super().run(graph, inputs)
        if "logits" in outputs:
            self.logits = outputs["logits"][0]
        return outputs


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))


class Snippets:
    """What a stream gives: snippet n at n * STEP, with or without picture and sound."""

    def __init__(self, seed, heard=(), seen=()):
        self.wave = scripted.noise(SOUND.rate * 12, seed)
        self.seed, self.heard, self.seen = seed, heard, seen

    def __getitem__(self, number):
        seen = self.seen[number] if number < len(self.seen) else True
        heard = self.heard[number] if number < len(self.heard) else True
        start = int(number * STEP * SOUND.rate) // SOUND.hop * SOUND.hop
        sound = self.wave[start : start + SOUND.samples]
        return scripted.colours(1000 * self.seed + number) if seen else None, sound, start, heard

    def clip(self, numbers):
        """The snippets of these numbers as a clip; None is a place before the first."""
        nothing = (None, np.zeros(SOUND.samples), 0, False)
        found = [nothing if number is None else self[number] for number in numbers]
        return Clip(
            duration=T * STEP,
            times=np.arange(T) * STEP,
            pictures=tuple(picture for picture, *_ in found),
            sound=np.stack([sound for _, sound, *_ in found]).astype(np.float32),
            starts=np.array([start for *_, start, _ in found]),
            heard=np.array([heard for *_, heard in found]),
            seen=np.array([picture is not None for picture, *_ in found]),
        )


def push(window, mel, snippets, number):
    picture, sound, start, heard = snippets[number]
    window.push(number * STEP, picture, mel(sound, start) if heard else None)


def assert_from_scratch(bundle, answer, logits, clip, engine=None):
    engine = engine or Spy()
    options = {"exit_confidence": 1e-9} if answer.exited else {"k": answer.k, "exit_confidence": 1.1}
    decision = Classifier(bundle, engine, **options).classify_clip(clip)
    if isinstance(engine, Spy):
        np.testing.assert_allclose(logits, engine.logits, atol=1e-6, rtol=1e-6)
    assert int(np.argmax(logits)) == int(np.argmax(decision.probabilities))
    assert answer.selected == decision.selected
    assert np.array(answer.centres) == pytest.approx(np.array(decision.centres))
    assert answer.saliency == pytest.approx(decision.saliency, abs=1e-6)
    assert (answer.heard, answer.seen, answer.exited) == (decision.heard, decision.seen, decision.exited)


budgets = st.one_of(
    st.none(),
    st.tuples(st.just("focus_per_second"), st.floats(0.3, 8)),
    st.tuples(st.just("macs_per_second"), st.floats(2_000, 60_000)),
)
masks = st.lists(st.booleans(), min_size=24, max_size=24)


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 10_000),
    heard=masks,
    seen=masks,
    k=st.integers(1, 2),
    budget=budgets,
    hops=st.sets(st.integers(0, 23), min_size=1),
)
def test_each_answer_is_that_of_its_window_from_scratch(bundle, seed, heard, seen, k, budget, hops):
    snippets, mel = Snippets(seed, heard, seen), LogMelWindow(SOUND)
    prices = {"focus_macs": tiny.MACS["focus"], "classify_macs": tiny.MACS["classify"]}
    limit = Budget(**dict([budget] if budget else []), **prices)
    engine = tiny.NumpyEngine()
    window = Window(Classifier(bundle, engine, k=k), limit)
    for number in range(24):
        push(window, mel, snippets, number)
        if number in hops and not window.blank:
            answer = window.decide()
            numbers = [place if place >= 0 else None for place in range(number - T + 1, number + 1)]
            assert_from_scratch(bundle, answer, answer.logits, snippets.clip(numbers))
            assert answer.times == tuple(None if place is None else place * STEP for place in numbers)
    calls = [graph for graph, _ in engine.calls]
    present = sum(map(any, zip(heard, seen, strict=True)))
    assert calls.count("glance") == present
    patches = [inputs["patch"].tobytes() for graph, inputs in engine.calls if graph == "focus"]
    assert len(set(patches)) == len(patches), "a patch was looked at twice"


def test_on_openvino_too(bundle):
    snippets, mel = Snippets(3), LogMelWindow(SOUND)
    engine = open_engine(bundle, threads=1)
    window, other = Window(Classifier(bundle, engine)), open_engine(bundle, threads=1)
    for number in range(10):
        push(window, mel, snippets, number)
        answer = window.decide()
        numbers = [place if place >= 0 else None for place in range(number - T + 1, number + 1)]
        scratch = Spy()
        Classifier(bundle, scratch, k=answer.k).classify_clip(snippets.clip(numbers))
        np.testing.assert_allclose(answer.logits, scratch.logits, atol=1e-3)
        assert_from_scratch(bundle, answer, answer.logits, snippets.clip(numbers), other)


def test_what_it_costs_is_what_is_new(bundle):
    snippets, mel = Snippets(5), LogMelWindow(SOUND)
    window = Window(Classifier(bundle, tiny.NumpyEngine()))
    for number in range(T):
        push(window, mel, snippets, number)
    first = window.decide()
    assert first.macs == T * tiny.MACS["glance"] + tiny.MACS["select"] + 2 * tiny.MACS["focus"] + tiny.MACS["classify"]
    again = window.decide()
    assert again.new_focus == 0 and again.macs == tiny.MACS["select"] + tiny.MACS["classify"]
    assert np.array_equal(first.logits, again.logits)


class Whim(tiny.NumpyEngine):
    """Finds the next of the `wanted` places the most salient, at each choice."""

    def __init__(self, wanted):
        super().__init__()
        self.wanted = iter(wanted)

    def run(self, graph, inputs):
        outputs = super().run(graph, inputs)
        if graph == "select":
            outputs["saliency"] = np.eye(T, dtype=np.float32)[[next(self.wanted)]]
        return outputs


def test_what_comes_back_into_the_choice_is_known(bundle):
    snippets, mel = Snippets(10), LogMelWindow(SOUND)
    window = Window(Classifier(bundle, Whim((2, 3, 2, 3, 1, 0, 0)), k=1))
    for number in range(T):
        push(window, mel, snippets, number)
    assert [window.decide().new_focus for _ in range(4)] == [1, 1, 0, 0]
    push(window, mel, snippets, T)  # one place to the left: the old 2 is 1 now
    assert [window.decide().new_focus for _ in range(3)] == [0, 1, 0]


def test_a_budget_of_focus_calls_is_kept(bundle):
    snippets, mel = Snippets(6), LogMelWindow(SOUND)
    window = Window(Classifier(bundle, tiny.NumpyEngine()), Budget(focus_per_second=1.0))
    answers = []
    for number in range(40):
        push(window, mel, snippets, number)
        answers.append(window.decide())
    spent = sum(answer.new_focus for answer in answers)
    assert spent <= 1 + 40 * STEP * 1.0  # what was saved up, and what was earned
    assert spent >= 5
    unlimited = Window(Classifier(bundle, tiny.NumpyEngine()))
    for number in range(40):
        push(unlimited, mel, snippets, number)
        spent -= unlimited.decide().new_focus
    assert spent < 0


def test_a_repeated_snippet_costs_nothing_and_is_looked_at_once(bundle):
    snippets, mel = Snippets(7), LogMelWindow(SOUND)
    engine = tiny.NumpyEngine()
    window = Window(Classifier(bundle, engine))
    push(window, mel, snippets, 0)
    for number in range(1, T):
        window.repeat(number * STEP)
    answer = window.decide()
    assert [graph for graph, _ in engine.calls] == ["glance", "select", "focus", "classify"]
    assert answer.k == 2 and answer.new_focus == 1
    assert_from_scratch(bundle, answer, answer.logits, snippets.clip([0] * T))


def test_after_a_long_pause_the_past_does_not_speak(bundle):
    snippets, mel = Snippets(8), LogMelWindow(SOUND)
    window = Window(Classifier(bundle, tiny.NumpyEngine()), span=2.0)
    for number in (0, 1, 2, 20):
        push(window, mel, snippets, number)
    assert len(window) == 1
    assert_from_scratch(bundle, answer := window.decide(), answer.logits, snippets.clip([None] * (T - 1) + [20]))


def test_pictures_are_let_go(bundle):
    import gc
    import weakref

    snippets, mel = Snippets(9), LogMelWindow(SOUND)
    window = Window(Classifier(bundle, tiny.NumpyEngine()))
    kept = []
    for number in range(30):
        picture, sound, start, _ = snippets[number]
        kept.append(weakref.ref(picture))
        window.push(number * STEP, picture, mel(sound, start))
        window.decide()
        del picture
    gc.collect()
    assert sum(ref() is not None for ref in kept) <= T


def test_nothing_to_judge_by(bundle):
    window = Window(Classifier(bundle, tiny.NumpyEngine()))
    assert window.blank
    window.push(0.0, None, None)
    assert window.blank
    with pytest.raises(ValueError, match="neither"):
        window.decide()


@settings(max_examples=30, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 4000), st.booleans()), min_size=1, max_size=12), st.integers(0, 99))
def test_a_moving_windows_mel_is_the_very_same(moves, seed):
    wave, mel, start = scripted.noise(60_000, seed), LogMelWindow(SOUND), 0
    for move, changed in moves:
        start += move // 7 if move % 3 == 0 else move // SOUND.hop * SOUND.hop
        window = wave[start : start + SOUND.samples].copy()
        if changed:
            window[move % SOUND.samples] = 0.9  # the same place, other sound
        given = window.copy()
        found = mel(given, start)
        given[:] = 0  # the caller's buffer is its own
        np.testing.assert_allclose(found[0], log_mel(window, SOUND), atol=1e-6)
