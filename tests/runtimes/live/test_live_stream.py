"""The loop: when snippets are taken, what is said of them, and what happens to who is late."""

from __future__ import annotations

import json

import numpy as np
import pytest

import clips
import scripted
import tiny
from avgn.bundle import open_bundle
from runtimes.capture.source import Counters, State
from runtimes.classifier import Classifier
from runtimes.live.gate import IdleSettings
from runtimes.live.settings import LiveSettings
from runtimes.stream import Stream

KEYS = (
    "time label score top saliency selected new_focus age_ms dropped av_offset_ms heard seen timings_ms "
    "times centres k exited idle macs skipped picture sound drift_ppm backend precision"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))


def stream(bundle, source=None, settings=None, watchers=(), engine=None):
    classifier = Classifier(bundle, engine or tiny.NumpyEngine())
    return Stream(classifier, source or scripted.ScriptedSource(), settings, watchers)


def test_a_decision_as_json(bundle):
    source = scripted.ScriptedSource(drift_ppm=40, counters=Counters(dropped_frames=3, dropped_sound_ms=12.5))
    decisions = list(stream(bundle, source))
    line = json.loads(json.dumps(decisions[4].as_json(), allow_nan=False))
    assert " ".join(line) == KEYS
    assert line["time"] == 2.5 and line["label"] in tiny.LABELS and line["top"][0]["label"] == line["label"]
    assert len(line["saliency"]) == len(line["times"]) == 4 and line["times"] == [1.75, 2.0, 2.25, 2.5]
    assert line["dropped"] == {"frames": 3, "sound_ms": 12.5} and line["av_offset_ms"] == pytest.approx(4)
    assert line["age_ms"] == {"frame": pytest.approx(0, abs=1e-6), "sound": 0}
    assert line["heard"] is line["seen"] is True and line["picture"] == line["sound"] == "running"
    assert set(line["timings_ms"]) == {"prepare", "crop", "glance", "select", "focus", "classify", "total"}
    assert sum(ms for name, ms in line["timings_ms"].items() if name != "total") <= line["timings_ms"]["total"] + 1e-6
    assert len(line["selected"]) == len(line["centres"]) == line["k"] == 2 and line["drift_ppm"] == 40


def test_snippets_and_decisions_come_at_their_rates(bundle):
    source = scripted.ScriptedSource(seconds=10.0)
    decisions = list(stream(bundle, source))
    assert [snippet.time for snippet in source.asked] == [0.25 * number for number in range(1, 41)]
    assert [decision.time for decision in decisions] == [0.5 * number for number in range(1, 21)]
    assert (source.started, source.closed) == (1, 1)
    assert decisions[-1].skipped.snippets == decisions[-1].skipped.hops == 0


def test_a_replay_gives_the_same_every_time(bundle):
    def told():
        lines = [decision.as_json() for decision in stream(bundle)]
        return [{key: value for key, value in line.items() if key != "timings_ms"} for line in lines]

    assert told() == told()


def test_it_is_the_window_judged_from_scratch(bundle):
    from avgn.snippets import Clip

    source = scripted.ScriptedSource(seconds=6.0)
    for decision in stream(bundle, source):
        last = source.asked[-4:]
        if len(last) < 4:
            continue
        clip = Clip(
            duration=1.0,
            times=np.array([snippet.time for snippet in last]),
            pictures=tuple(snippet.picture for snippet in last),
            sound=np.stack([snippet.sound for snippet in last]),
            starts=np.array([snippet.start for snippet in last]),
            heard=np.ones(4, bool),
            seen=np.ones(4, bool),
        )
        scratch = Classifier(bundle, tiny.NumpyEngine()).classify_clip(clip)
        assert decision.label == scratch.label and decision.selected == scratch.selected
        assert decision.score == pytest.approx(scratch.score, abs=1e-6)
        assert decision.saliency == pytest.approx(scratch.saliency, abs=1e-6)
        assert decision.centres == scratch.centres


def test_who_is_late_finds_snippets_and_hops_left_out_and_counted(bundle):
    source = scripted.ScriptedSource(seconds=10.0)
    times, last = [], None
    for decision in stream(bundle, source):
        times.append(decision.time)
        if decision.time == 2.0:
            source.clock.pass_by(3.3)  # a reader that blocks
        last = decision
    # 5.3 s: the snippet of 5.25 is taken late, with it the hop of 5.0 is made up for; those of 2.5 to 4.5 are gone
    assert times[:6] == [0.5, 1.0, 1.5, 2.0, 5.25, 5.5]
    assert (last.skipped.snippets, last.skipped.hops) == (12, 5)
    assert times[-1] == 10.0


def test_a_slow_engine_skips_and_never_queues(bundle):
    source = scripted.ScriptedSource(seconds=20.0)

    class Slow(tiny.NumpyEngine):
        def run(self, graph, inputs):
            source.clock.pass_by(0.3 if graph == "glance" else 0.2)
            return super().run(graph, inputs)

    decisions = list(stream(bundle, source, engine=Slow()))
    assert decisions[-1].skipped.hops > 0 and decisions[-1].skipped.snippets > 0
    # a snippet is at most a step late when taken, and what follows is one glance and one decision
    assert max(decision.age_ms.frame for decision in decisions) <= (0.1 + 0.25 + 0.3 + 0.2 + 2 * 0.2 + 0.2) * 1e3 + 1e-6
    taken = [snippet.time for snippet in source.asked]
    assert len(taken) + decisions[-1].skipped.snippets == decisions[-1].time * 4


def test_at_rest_it_glances_and_answers_less_and_wakes_at_once(bundle):
    loud = scripted.noise(tiny.SOUND.rate * 30)
    loud[: 20 * tiny.SOUND.rate] *= 1e-4
    engine = tiny.NumpyEngine()
    source = scripted.ScriptedSource(pictures=lambda number: scripted.colours(1), wave=loud, seconds=22.0)
    moments = []
    decisions = list(stream(bundle, source, LiveSettings(idle=IdleSettings(patience=2.0)), [moments.append], engine))
    resting = [decision for decision in decisions if 4 <= decision.time <= 20]
    assert all(decision.idle for decision in resting) and len(resting) <= 17
    glances = [graph for graph, _ in engine.calls].count("glance")
    assert glances <= 9 + 18 + 8 and len(moments) == 88
    first = next(decision for decision in decisions if decision.time > 20)
    assert first.time <= 20.5 and not first.idle
    assert next(moment.time for moment in moments if moment.time > 20.0) == 20.25
    assert not next(moment for moment in moments if moment.time == 20.25).idle
    assert [decision.time for decision in decisions if decision.time > 20.25] == [20.5, 21.0, 21.5, 22.0]


def test_without_rest_every_snippet_is_glanced_at(bundle):
    engine = tiny.NumpyEngine()
    source = scripted.ScriptedSource(pictures=lambda number: scripted.colours(1), wave=np.zeros(10**6, np.float32))
    decisions = list(stream(bundle, source, LiveSettings(idle=None), engine=engine))
    assert [graph for graph, _ in engine.calls].count("glance") == 40 and len(decisions) == 20


def test_lost_camera_and_microphone(bundle):
    source = scripted.ScriptedSource(
        pictures=lambda number: None if number >= 30 else scripted.colours(number),
        heard=lambda time: time < 6.0,
        seconds=10.0,
    )
    moments = []
    decisions = list(stream(bundle, source, LiveSettings(idle=None), [moments.append]))
    both = {decision.time: (decision.seen, decision.heard) for decision in decisions}
    assert both[2.5] == (True, True) and both[5.0] == (False, True)
    assert max(both) == 6.5  # then the whole window is empty: nothing to say
    assert len(moments) == 40 and moments[-1].picture is None and moments[-1].level is None
    assert decisions[-1].age_ms.frame is None


def test_the_duration_ends_it(bundle):
    source = scripted.ScriptedSource(seconds=100.0)
    decisions = list(stream(bundle, source, LiveSettings(duration=3.0)))
    assert decisions[-1].time == 3.0 and source.closed == 1


def test_a_short_source_still_gets_its_answer(bundle):
    decisions = list(stream(bundle, scripted.ScriptedSource(seconds=0.3)))
    assert [decision.time for decision in decisions] == [0.25]


def test_who_stops_reading_closes_the_source(bundle):
    source = scripted.ScriptedSource(seconds=100.0)
    decisions = iter(stream(bundle, source))
    next(decisions)
    decisions.close()
    assert source.closed == 1


def test_moments_tell_what_a_view_shows(bundle):
    moments = []
    list(stream(bundle, watchers=[moments.append]))
    assert len(moments) == 40
    moment = moments[5]
    assert moment.time == 1.5 and moment.picture is not None and -40 < moment.level < 0
    assert moment.status.state is State.RUNNING and not moment.idle
    assert all(0 <= part <= 1 for part in moment.centre)


def test_from_python_on_a_camera_that_is_a_file(bundle, tmp_path):
    path = tmp_path / "clip.mp4"
    clips.write_clip(path, 3.0)
    classifier = Classifier(bundle, tiny.NumpyEngine())
    told = []
    for decision in classifier.stream(camera=str(path), mic="camera", settings=LiveSettings(duration=2.0)):
        told.append(decision)
        if decision.seen and decision.heard:
            break
    assert told[-1].seen and told[-1].heard and told[-1].label in tiny.LABELS
