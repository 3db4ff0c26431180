"""The classifier against a plain retelling of the whole method in numpy, and at the edges of what clips can be."""

from __future__ import annotations

import json
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import tiny
from avgn.bundle import open_bundle
from avgn.errors import InputError, ProofError, UsageError
from avgn.logmel import log_mel
from runtimes.backends import open_engine
from runtimes.classifier import Classifier

ORDER = (
    "file label score top saliency times selected centres heard seen exited macs backend precision timings_ms warnings"
)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory):
    return open_bundle(tiny.tiny_bundle(tmp_path_factory.mktemp("bundle")))


@pytest.fixture
def engine():
    return tiny.NumpyEngine()


def retold(clip, k=2):
    """The method, snippet by snippet, on the numpy graphs: (logits, saliency, selected, patch centres)."""
    found = []
    for picture, wave, heard in zip(clip.pictures, clip.sound, clip.heard, strict=True):
        frame = np.zeros((3, 32, 32)) if picture is None else picture.squashed(32) / 255
        mel = log_mel(wave, tiny.SOUND) if heard else np.zeros((16, 32))
        inputs = {"frame": frame[None], "mel": mel[None, None], "heard": np.full((1, 1), float(heard))}
        found.append(tiny.reference("glance", inputs))
    present = {"heard": clip.heard[None].astype(float), "seen": clip.seen[None].astype(float)}
    features = {name: np.stack([glance[name][0] for glance in found])[None] for name in ("visual", "audio")}
    select = tiny.reference("select", features | present)
    saliency = select["saliency"][0]
    selected = sorted(sorted(range(4), key=lambda index: (-saliency[index], index))[:k])
    slots = {
        "context": np.zeros((1, 2, 8)),
        "local": np.zeros((1, 2, 6)),
        "when": np.zeros((1, 2)),
        "used": np.zeros((1, 2)),
    }
    centres = []
    for slot, index in enumerate(selected):
        slots["when"][0, slot], slots["used"][0, slot] = index, 1
        picture = clip.pictures[index]
        if picture is None:
            centres.append((0.5, 0.5))
            continue
        y, x = found[index]["centre"][0]
        top, left = (int(np.clip(np.round(middle * side - 16), 0, side - 32)) for middle, side in ((y, 48), (x, 64)))
        patch = picture.pixels[top : top + 32, left : left + 32].transpose(2, 0, 1) / 255
        slots["context"][0, slot] = found[index]["context"][0]
        slots["local"][0, slot] = tiny.reference("focus", {"patch": patch[None]})["local"][0]
        centres.append(((top + 16) / 48, (left + 16) / 64))
    logits = tiny.reference("classify", {"tokens": select["tokens"]} | slots | present)["logits"][0]
    return logits, saliency, selected, centres


def assert_agrees(decision, clip, k=2):
    logits, saliency, selected, centres = retold(clip, k)
    chances = np.exp(logits - logits.max()) / np.exp(logits - logits.max()).sum()
    assert decision.label == tiny.LABELS[int(np.argmax(chances))]
    assert decision.score == pytest.approx(chances.max(), abs=1e-4)
    assert [scored.score for scored in decision.top] == pytest.approx(sorted(chances, reverse=True), abs=1e-4)
    assert decision.saliency == pytest.approx(saliency, abs=1e-4)
    assert list(decision.selected) == selected
    assert np.array(decision.centres) == pytest.approx(np.array(centres))


masks = st.tuples(*[st.integers(0, 1)] * 4)


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 10_000), heard=masks, seen=masks, k=st.integers(1, 2))
def test_clips_are_decided_as_the_method_says(bundle, seed, heard, seen, k):
    clip = tiny.tiny_clip(seed, heard, seen)
    if not any(heard + seen):
        return
    decision = Classifier(bundle, tiny.NumpyEngine(), k=k).classify_clip(clip, "x")
    assert_agrees(decision, clip, k)
    assert (decision.heard, decision.seen, decision.exited) == (any(heard), any(seen), False)


def test_openvino_agrees_and_buffers_are_safe_to_reuse(bundle):
    classifier = Classifier(bundle, open_engine(bundle, threads=1))
    clips = [tiny.tiny_clip(1), tiny.tiny_clip(2, heard=(0, 0, 0, 0)), tiny.tiny_clip(3, seen=(0, 1, 0, 0))]
    for clip in clips * 2:
        assert_agrees(classifier.classify_clip(clip), clip)


def test_the_focus_net_gets_the_very_pixels_around_the_centre(bundle, engine):
    clip = tiny.tiny_clip(5)
    decision = Classifier(bundle, engine).classify_clip(clip)
    patches = [inputs["patch"] for graph, inputs in engine.calls if graph == "focus"]
    assert len(patches) == 2
    for patch, index, (y, x) in zip(patches, decision.selected, decision.centres, strict=True):
        top, left = round(y * 48) - 16, round(x * 64) - 16
        expected = clip.pictures[index].pixels[top : top + 32, left : left + 32]
        assert np.array_equal(np.round(patch[0] * 255).astype(np.uint8), expected.transpose(2, 0, 1))
        assert patch.max() <= 1


def test_a_missing_modality_is_flagged_and_not_faked(bundle, engine):
    Classifier(bundle, engine).classify_clip(tiny.tiny_clip(5, heard=(1, 0, 1, 1), seen=(1, 1, 0, 1)))
    glances = [inputs for graph, inputs in engine.calls if graph == "glance"]
    assert [float(inputs["heard"][0, 0]) for inputs in glances] == [1, 0, 1, 1]
    # nothing is left over from the snippet before
    assert [bool(inputs["mel"].any()) for inputs in glances] == [True, False, True, True]
    assert [bool(inputs["frame"].any()) for inputs in glances] == [True, True, False, True]
    last = engine.calls[-1][1]
    assert last["heard"].tolist() == [[1, 0, 1, 1]] and last["seen"].tolist() == [[1, 1, 0, 1]]


def test_a_snippet_with_nothing_costs_nothing(bundle, engine):
    clip = tiny.tiny_clip(5, heard=(0, 1, 0, 0), seen=(0, 1, 0, 0))
    decision = Classifier(bundle, engine).classify_clip(clip)
    ran = [graph for graph, _ in engine.calls]
    assert ran.count("glance") == 1 and ran.count("focus") == int(1 in decision.selected)
    assert decision.macs == sum(tiny.MACS[graph] for graph in ran)


def test_fewer_slots_are_left_unfilled(bundle, engine):
    decision = Classifier(bundle, engine, k=1).classify_clip(tiny.tiny_clip(5))
    last = engine.calls[-1][1]
    assert len(decision.selected) == 1
    assert last["used"].tolist() == [[1, 0]] and last["when"].tolist() == [[decision.selected[0], 0]]
    assert not last["local"][0, 1].any() and not last["context"][0, 1].any()


def test_without_picture_snippets_are_chosen_and_nothing_is_focused_on(bundle, engine):
    decision = Classifier(bundle, engine).classify_clip(tiny.tiny_clip(5, seen=(0, 0, 0, 0)))
    last = engine.calls[-1][1]
    assert "focus" not in [graph for graph, _ in engine.calls]
    assert len(decision.selected) == 2 and last["used"].tolist() == [[1, 1]]
    assert not last["local"].any() and not last["context"].any()


def test_neither_picture_nor_sound(bundle, engine):
    with pytest.raises(InputError, match=r"c\.mp4: there is neither picture nor sound"):
        Classifier(bundle, engine).classify_clip(tiny.tiny_clip(1, (0,) * 4, (0,) * 4), "c.mp4")


def glance_confidence(clip):
    class Spy(tiny.NumpyEngine):
        def run(self, graph, inputs):
            outputs = super().run(graph, inputs)
            if graph == "select":
                powers = np.exp(outputs["logits"][0].astype(float))
                self.confidence = powers.max() / powers.sum()
            return outputs

    spy = Spy()
    return spy, lambda bundle: Classifier(bundle, spy).classify_clip(clip) and spy.confidence


def test_early_exit(bundle, engine):
    clip = tiny.tiny_clip(5)
    _, confidence = glance_confidence(clip)
    sure = confidence(bundle)
    classifier = Classifier(bundle, engine, exit_confidence=sure - 1e-6)
    decision = classifier.classify_clip(clip)
    assert decision.exited and decision.selected == () and decision.centres == ()
    assert decision.score == pytest.approx(sure, abs=1e-6)
    assert [graph for graph, _ in engine.calls] == ["glance"] * 4 + ["select"]
    assert decision.macs == 4 * tiny.MACS["glance"] + tiny.MACS["select"]
    assert not Classifier(bundle, engine, exit_confidence=sure + 1e-6).classify_clip(clip).exited


def test_the_bundle_can_ask_for_early_exit_and_the_caller_can_refuse(tmp_path, engine):
    bundle = open_bundle(tiny.tiny_bundle(tmp_path, exit_confidence=0.01))
    clip = tiny.tiny_clip(5)
    assert Classifier(bundle, engine).classify_clip(clip).exited
    assert not Classifier(bundle, engine, exit_confidence=1.1).classify_clip(clip).exited


@pytest.mark.parametrize(
    "options", [{"k": 0}, {"k": 3}, {"k": -1}, {"exit_confidence": 0.0}, {"exit_confidence": float("nan")}]
)
def test_options_out_of_range(bundle, engine, options):
    with pytest.raises(UsageError, match=next(iter(options)).split("_")[0]):
        Classifier(bundle, engine, **options)


@pytest.mark.parametrize(
    ("graph", "output", "value"),
    [
        ("glance", "centre", np.nan),
        ("glance", "centre", np.inf),
        ("select", "saliency", np.nan),
        ("select", "logits", np.inf),
        ("classify", "logits", np.nan),
    ],
)
def test_outputs_that_are_not_finite_name_the_graph(bundle, graph, output, value):
    class Broken(tiny.NumpyEngine):
        def run(self, name, inputs):
            outputs = super().run(name, inputs)
            if name == graph:
                outputs[output].flat[0] = value
            return outputs

    with pytest.raises(ProofError, match=f"{graph} .*{output}"):
        Classifier(bundle, Broken()).classify_clip(tiny.tiny_clip(1))


def test_the_decision_is_the_contracts_json(bundle, engine):
    decision = Classifier(bundle, engine).classify_clip(tiny.tiny_clip(1), "a.mp4")
    data = json.loads(json.dumps(decision.as_json(), allow_nan=False))
    assert " ".join(data) == ORDER
    assert list(data["timings_ms"]) == ["decode", "glance", "select", "focus", "classify", "total"]
    assert data["file"] == "a.mp4" and data["times"] == [0.5, 1.5, 2.5, 3.5]
    assert len(data["saliency"]) == 4 and len(data["selected"]) == len(data["centres"]) == 2
    assert data["top"][0] == {"label": data["label"], "score": data["score"]}
    assert sum(scored["score"] for scored in data["top"]) == pytest.approx(1)
    assert data["macs"] == 4 * 1000 + 200 + 2 * 5000 + 30
    stages = [data["timings_ms"][stage] for stage in ("decode", "glance", "select", "focus", "classify")]
    assert all(ms > 0 for ms in stages) and sum(stages) <= data["timings_ms"]["total"]


def test_with_another_engine(bundle, engine):
    first = Classifier(bundle, open_engine(bundle, threads=1), k=1)
    other = first.with_engine(engine)
    clip = tiny.tiny_clip(1)
    assert other.classify_clip(clip).backend == "numpy"
    assert other.classify_clip(clip).selected == first.classify_clip(clip).selected
    assert other.k == 1


def test_decisions_do_not_depend_on_what_was_decided_before(bundle, engine):
    classifier = Classifier(bundle, engine)
    blank = tiny.tiny_clip(3, heard=(0, 1, 0, 1), seen=(0, 0, 1, 1))
    alone = replace(classifier.classify_clip(blank), timings_ms={})
    classifier.classify_clip(tiny.tiny_clip(9))
    assert replace(classifier.classify_clip(blank), timings_ms={}) == alone
