"""Every switch on a tiny bundle whose engine records what it was given: the intended inputs change, and no others."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import clips
import tiny
from avgn.bundle import open_bundle
from avgn.cli import run
from avgn.config import PatchConfig
from avgn.data.scenes import SceneRecord
from avgn.errors import UsageError
from avgn.schema import plain
from avgn.training.ablations import ABLATIONS, combined, oracle_frames, random_frames, random_patches, uniform_frames
from avgn.training.metrics import patch_box
from runtimes.ablated import Rehearsal, ablated
from runtimes.classifier import Classifier

BOXES = ((1.0, 0.35, 0.5, 0.55, 0.7), (3.0, 0.35, 0.5, 0.55, 0.7))  # the middle: y 0.45, x 0.6
RECORD = SceneRecord("a.mp4", "dog", "both", 5, "test", 4.0, 64, 48, 15, (1.0, 3.0), BOXES, (), 0.0, ())


class Scripted(tiny.NumpyEngine):
    """Outputs follow from the frames alone, and snippets 0 and 3 are chosen: what differs was done to the inputs."""

    def run(self, graph, inputs):
        outputs = super().run(graph, inputs)
        if graph == "glance":
            outputs["audio"] = outputs["visual"] / 2
        if graph == "select":
            outputs["saliency"] = np.array([[4, 2, 1, 3]], np.float32)
            outputs["tokens"] = np.tile(inputs["visual"], (1, 2, 1))
        return outputs


class Aware(tiny.NumpyEngine):
    """Graphs told that there is no sound answer quite differently, and unmistakably."""

    def run(self, graph, inputs):
        outputs = super().run(graph, inputs)
        if graph in ("glance", "select") and not inputs["heard"].any():
            outputs = {name: np.full_like(value, 77) for name, value in outputs.items()}
            outputs |= {"centre": np.array([[0, 1]], np.float32)} if graph == "glance" else {}
            outputs |= {"saliency": np.array([[1, 2, 3, 4]], np.float32)} if graph == "select" else {}
        return outputs


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture
def decide(bundle, monkeypatch):
    """(decision, calls by graph) of a clip under ablations; no names: the plain classifier."""

    def decided(*names, clip=None, engine=Scripted, record=RECORD, **options):
        recorder = engine()
        monkeypatch.setattr("avgn.media.read_clip", lambda path, config: clip or tiny.tiny_clip(5))
        classifier = Classifier(bundle, recorder, **options)
        path = Path("a.mp4")
        decision = ablated(classifier, combined(names))(path, record) if names else classifier.classify(path)
        calls = {name: [inputs for graph, inputs in recorder.calls if graph == name] for name in tiny.MACS}
        return decision, calls

    return decided


def changed(calls, plain):
    """Graph.input names that differ, call by call; calls beyond the plain ones are not looked at."""
    pairs = ((graph, pair) for graph in plain for pair in zip(calls[graph], plain[graph], strict=False))
    return {
        f"{graph}.{name}"
        for graph, (ours, theirs) in pairs
        for name in theirs
        if not np.array_equal(ours[name], theirs[name])
    }


OTHER_FRAMES = "focus.patch classify.context classify.local classify.when"
CHANGES = {
    "frames-uniform": OTHER_FRAMES,
    "frames-random": OTHER_FRAMES,
    "frames-oracle": OTHER_FRAMES,
    "frames-deaf": "",
    "patches-centre": "focus.patch classify.local",
    "patches-random": "focus.patch classify.local",
    "patches-oracle": "",  # 0 and 3, the chosen ones, lie outside the interval
    "patches-deaf": "",
    "sound-off": "glance.mel glance.heard select.heard classify.heard",
    "sound-off-saliency": "select.heard",
    "sound-off-classify": "classify.heard",
}
EXTRA = {"frames-deaf": {"select": 1}, "patches-deaf": {"glance": 4}}  # calls beyond the method's own


@pytest.mark.parametrize("name", ABLATIONS)
def test_exactly_the_intended_inputs_change(decide, name):
    usual, usual_calls = decide()
    decision, calls = decide(name)
    assert changed(calls, usual_calls) == set(CHANGES[name].split())
    more = {graph: len(calls[graph]) - len(usual_calls[graph]) for graph in calls}
    assert {graph: count for graph, count in more.items() if count} == EXTRA.get(name, {})
    assert decision.macs == usual.macs
    for inputs in (inputs for graph in EXTRA.get(name, {}) for inputs in calls[graph][len(usual_calls[graph]) :]):
        assert not inputs["heard"].any()


def test_sound_told_to_be_off_is_off_everywhere_it_is_told(decide):
    _, calls = decide("sound-off")
    assert not any(inputs["heard"].any() for inputs in calls["glance"] + calls["select"] + calls["classify"])
    assert not any(inputs["mel"].any() for inputs in calls["glance"])
    assert not decide("sound-off")[0].heard
    assert not decide("sound-off-saliency")[1]["select"][0]["heard"].any()
    assert not decide("sound-off-classify")[1]["classify"][0]["heard"].any()


def test_patches_deaf_takes_place_and_context_from_a_glance_without_sound_and_nothing_else(decide):
    _, usual = decide(engine=Aware)
    decision, calls = decide("patches-deaf", engine=Aware)
    assert changed(calls, usual) == {"focus.patch", "classify.context", "classify.local"}
    for heard, deaf in zip(calls["glance"][:4], calls["glance"][4:], strict=True):
        assert np.array_equal(heard["frame"], deaf["frame"]) and heard["heard"].all() and not deaf["heard"].any()
    assert (calls["classify"][0]["context"] == 77).all()
    assert decision.centres == ((16 / 48, (64 - 16) / 64),) * 2  # y 0, x 1, moved inside


def test_frames_deaf_chooses_without_sound_and_fuses_with_it(decide):
    usual, usual_calls = decide(engine=Aware)
    decision, calls = decide("frames-deaf", engine=Aware)
    assert decision.selected == (2, 3) != usual.selected
    assert decision.saliency == (1, 2, 3, 4)
    classify, usual_classify = calls["classify"][0], usual_calls["classify"][0]
    for name in ("tokens", "heard", "seen"):
        assert np.array_equal(classify[name], usual_classify[name])
    deaf, heard = calls["select"][1], calls["select"][0]
    assert [name for name in deaf if not np.array_equal(deaf[name], heard[name])] == ["heard"]


def test_sound_off_saliency_hands_on_the_tokens_made_without_sound(decide):
    decision, calls = decide("sound-off-saliency", engine=Aware)
    assert decision.selected == (2, 3)
    assert (calls["classify"][0]["tokens"] == 77).all() and calls["classify"][0]["heard"].all()


def test_time_of_a_second_call_is_left_out(bundle, monkeypatch):
    """By a clock that only engines move: one second a call."""
    clock = [0.0]

    class Slow(Scripted):
        def run(self, graph, inputs):
            clock[0] += 1
            return super().run(graph, inputs)

    monkeypatch.setattr("avgn.media.read_clip", lambda path, config: tiny.tiny_clip(5))
    monkeypatch.setattr("runtimes.classifier.perf_counter", lambda: clock[0])
    for module in ("meter", "ablated"):
        monkeypatch.setattr(f"runtimes.{module}.perf_counter", lambda: clock[0])
    classifier = Classifier(bundle, Slow())
    usual = classifier.classify("a.mp4").timings_ms
    assert usual["total"] == 8000  # 4 glances, select, 2 patches, classify
    for name in EXTRA:
        classify = ablated(classifier, combined([name]))
        assert [classify(Path("a.mp4"), RECORD).timings_ms for _ in range(2)] == [usual] * 2


def test_scenes_do_not_depend_on_what_was_decided_before(bundle, monkeypatch):
    scenes = {f"{seed}.mp4": (tiny.tiny_clip(seed), replace(RECORD, seed=seed)) for seed in range(3)}
    monkeypatch.setattr("avgn.media.read_clip", lambda path, config: scenes[str(path)][0])

    def decisions(names, classify):
        return [replace(classify()(Path(name), scenes[name][1]), timings_ms={}) for name in names]

    names = ("frames-random", "patches-random", "sound-off-saliency")
    fresh = decisions(scenes, lambda: ablated(Classifier(bundle, tiny.NumpyEngine()), combined(names)))
    reused = ablated(Classifier(bundle, tiny.NumpyEngine()), combined(names))
    assert decisions([*scenes, *scenes], lambda: reused) == fresh * 2


def test_centre_cuts_the_middle(decide):
    decision, calls = decide("patches-centre")
    pictures = tiny.tiny_clip(5).pictures
    for index, inputs in zip(decision.selected, calls["focus"], strict=True):
        middle = pictures[index].pixels[8:40, 16:48].transpose(2, 0, 1) / np.float32(255)
        assert inputs["patch"][0] == pytest.approx(middle, abs=1e-6)
    assert decision.centres == ((0.5, 0.5),) * 2


def test_oracle_patches_are_cut_around_the_true_box_and_the_policys_own_elsewhere(decide):
    usual, _ = decide("frames-oracle")
    decision, _ = decide("frames-oracle", "patches-oracle")
    assert decision.selected == usual.selected == (1, 2)
    for centre in decision.centres:
        assert centre == pytest.approx((0.45, 0.6), abs=0.5 / 48)  # to whole pixels
    assert decision.centres != usual.centres
    outside = replace(RECORD, interval=(1.0, 2.0))  # holds snippet 1 only
    (first, *_), (ours, *_) = (decide(*names, record=outside)[0].centres for names in ((), ("patches-oracle",)))
    assert ours == first


@given(st.integers(1, 40).flatmap(lambda count: st.tuples(st.just(count), st.integers(1, count))))
def test_uniform_frames_take_one_of_each_part(sizes):
    count, k = sizes
    chosen = uniform_frames(np.zeros(count, np.float32), k, np.arange(count) * 1.0, RECORD)
    assert len(chosen) == k
    for part, index in enumerate(chosen):
        assert part * count / k < index + 1 and index < (part + 1) * count / k


@given(st.integers(0, 2**32), st.floats(0, 4), st.floats(0, 4), st.integers(1, 16))
def test_oracle_frames_lie_in_the_interval_and_the_rest_are_the_most_salient(seed, start, length, k):
    times, saliency = (np.arange(16) + 0.5) / 4, np.random.default_rng(seed).normal(size=16).astype(np.float32)
    chosen = oracle_frames(saliency, k, times, replace(RECORD, interval=(start, start + length)))
    inside = {index for index in range(16) if start <= times[index] < start + length}
    assert len(set(chosen)) == k and list(chosen) == sorted(chosen)
    if len(inside) >= k:
        assert set(chosen) <= inside
    else:
        others = sorted(set(range(16)) - inside, key=lambda index: -saliency[index])
        assert set(chosen) == inside | set(others[: k - len(inside)])


def test_oracle_frames_are_spread_over_the_interval():
    times = np.arange(12) + 0.5
    chosen = oracle_frames(np.zeros(12, np.float32), 3, times, replace(RECORD, interval=(2.0, 11.0)))
    assert chosen == (3, 6, 9)


def test_random_frames_repeat_and_every_set_is_as_likely():
    times, saliency = np.arange(4) + 0.5, np.zeros(4, np.float32)
    drawn = [random_frames(saliency, 2, times, replace(RECORD, seed=seed)) for seed in range(1200)]
    assert drawn == [random_frames(saliency, 2, times, replace(RECORD, seed=seed)) for seed in range(1200)]
    counts = Counter(drawn)
    assert len(counts) == 6 and all(150 < count < 250 for count in counts.values())  # 200 each, spread 13


@given(st.integers(-10, 10), st.sampled_from([(64, 48), (48, 64), (640, 360), (100, 100)]), st.integers(32, 48))
def test_random_patches_lie_in_the_frame_and_repeat(seed, shape, size):
    record, patch = replace(RECORD, seed=seed, width=shape[0], height=shape[1]), PatchConfig(size=size, short_side=48)
    centres = random_patches(np.arange(50.0), record, patch)
    assert np.array_equal(centres, random_patches(np.arange(50.0), record, patch))
    for centre in centres:
        box = patch_box(tuple(centre), size, 48, record.height, record.width)
        assert min(box) >= -1e-9 and max(box) <= 1 + 1e-9
    half = patch_box((0, 0), size, 48, record.height, record.width)[2:]
    for axis in (0, 1):  # up to the edges: 50 draws leave out a fifth at either end with a chance of 1e-5
        room = 1 - 2 * half[axis]
        assert centres[:, axis].min() <= half[axis] + room / 5 + 1e-9
        assert centres[:, axis].max() >= 1 - half[axis] - room / 5 - 1e-9


def test_random_ones_repeat_from_classifier_to_classifier(decide):
    names = ("frames-random", "patches-random")
    first, second, other = (decide(*names, record=replace(RECORD, seed=seed))[0] for seed in (5, 5, 6))
    assert (first.selected, first.centres, first.probabilities) == (
        second.selected,
        second.centres,
        second.probabilities,
    )
    assert first.centres != other.centres


masks = st.tuples(*[st.integers(0, 1)] * 4)


@settings(max_examples=60, deadline=None)
@given(
    names=st.lists(st.sampled_from(list(ABLATIONS)), max_size=4, unique=True),
    seed=st.integers(0, 1000),
    heard=masks,
    seen=masks.filter(any),
    k=st.integers(1, 2),
)
def test_any_clip_under_any_combination_is_decided(bundle, names, seed, heard, seen, k):
    try:
        ablation = combined(names)
    except UsageError:
        return
    usual = Classifier(bundle, tiny.NumpyEngine(), k=k)
    clip = tiny.tiny_clip(seed, heard, seen)
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("avgn.media.read_clip", lambda path, config: clip)
        decision = ablated(usual, ablation)(Path("a.mp4"), RECORD)
        plainly = usual.classify("a.mp4")
    assert len(decision.selected) == k and sum(decision.probabilities) == pytest.approx(1)
    if not names:
        assert replace(decision, timings_ms={}) == replace(plainly, timings_ms={})


def test_early_exit_stays(decide):
    decision, calls = decide("frames-random", "patches-random", exit_confidence=0.01)
    assert decision.exited and not decision.selected and not calls["focus"]


def test_names_that_are_unknown_or_exclude_each_other():
    with pytest.raises(UsageError) as fault:
        combined(["sound-off", "frames-best"])
    assert "'frames-best'" in str(fault.value) and all(name in str(fault.value) for name in ABLATIONS)
    with pytest.raises(UsageError, match="frames-uniform and frames-oracle exclude"):
        combined(["frames-uniform", "sound-off", "frames-oracle"])
    with pytest.raises(UsageError, match="patches-random and patches-centre exclude"):
        combined(["patches-random", "patches-centre"])


def test_names_combine():
    found = combined(["frames-oracle", "patches-centre", "sound-off-saliency", "patches-deaf", "sound-off-saliency"])
    assert found.frames is ABLATIONS["frames-oracle"].frames and found.patches is ABLATIONS["patches-centre"].patches
    assert found.deaf == {"saliency", "patches"}


@pytest.fixture(scope="module")
def scenes(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    records = [replace(RECORD, file=f"{seed}.mp4", seed=seed) for seed in range(2)]
    for record in records:
        clips.write_clip(folder / record.file, 4.0, size=(64, 48))
    (folder / "scenes.jsonl").write_text("".join(json.dumps(plain(record)) + "\n" for record in records))
    return folder


def evaluated(capsys, scenes, bundle, *names):
    options = [part for name in names for part in ("--ablate", name)]
    assert run(["evaluate", "--data", str(scenes), "--bundle", str(bundle.path), "--json", *options]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_command_prints_the_same_keys_and_what_was_ablated(capsys, scenes, bundle):
    usual = evaluated(capsys, scenes, bundle)
    found = evaluated(capsys, scenes, bundle, "patches-centre", "sound-off", "patches-centre")
    assert list(found) == list(usual)
    assert usual["ablated"] == [] and found["ablated"] == ["patches-centre", "sound-off"]
    assert found["macs_mean"] == usual["macs_mean"]
    assert found["saliency_ap"] is not None
    oracle = evaluated(capsys, scenes, bundle, "frames-oracle", "patches-oracle")
    assert oracle["patch_hit"] == 1


def test_the_command_without_json_names_what_was_ablated(capsys, scenes, bundle):
    assert run(["evaluate", "--data", str(scenes), "--bundle", str(bundle.path), "--ablate", "sound-off"]) == 0
    assert "ablated: sound-off\n" in capsys.readouterr().out


def test_the_command_lists_them(capsys):
    assert run(["evaluate", "--ablate", "help"]) == 0
    shown = capsys.readouterr().out
    for name, ablation in ABLATIONS.items():
        assert f" {name} " in shown and ablation.says in shown


def test_the_command_refuses_what_is_unknown_before_it_loads_anything(capsys):
    assert run(["evaluate", "--data", "nowhere", "--bundle", "nowhere", "--ablate", "frames-best"]) == 2
    complaint = capsys.readouterr().err
    assert "sound-off-classify" in complaint and "Traceback" not in complaint and complaint.count("\n") == 1


def test_a_clip_is_glanced_at_once_however_many_ways_are_tried(bundle, monkeypatch):
    monkeypatch.setattr("avgn.media.read_clip", lambda path, config: tiny.tiny_clip(5))
    engine = Aware()
    rehearsal = Rehearsal(Classifier(bundle, engine))
    rehearsal.open(Path("a.mp4"), RECORD)
    found = {name: rehearsal.decision(combined([name])) for name in ABLATIONS}
    calls = Counter(graph for graph, _ in engine.calls)
    assert calls["glance"] == 8 and calls["select"] == 3  # heard and deaf; of the latter two, one on deaf glances
    assert calls["focus"] < 2 * len(ABLATIONS)
    for name, decision in found.items():
        alone = ablated(Classifier(bundle, Aware()), combined([name]))(Path("a.mp4"), RECORD)
        assert replace(decision, timings_ms={}) == replace(alone, timings_ms={})


def test_fewer_snippets_and_early_exit_decide_as_the_classifier_does(bundle, monkeypatch):
    monkeypatch.setattr("avgn.media.read_clip", lambda path, config: tiny.tiny_clip(5))
    rehearsal = Rehearsal(Classifier(bundle, Scripted()))
    rehearsal.open(Path("a.mp4"), RECORD)
    for k, limit in ((1, None), (2, None), (2, 0.01), (1, 1.01)):
        plain_one = Classifier(bundle, Scripted(), k, limit).classify("a.mp4")
        decision = rehearsal.decision(combined([]), k, limit)
        assert replace(decision, timings_ms={}) == replace(plain_one, timings_ms={})
