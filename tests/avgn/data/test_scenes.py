"""Scenes: the plan holds its promises, and what is rendered is what the truth says."""

from __future__ import annotations

import dataclasses
import io

import av
import numpy as np
import pytest
from drawn_material import COLOURS, RATE, TONES, draw_material
from hypothesis import given
from hypothesis import settings as examples
from hypothesis import strategies as st

from avgn.config import Config
from avgn.data.compose import ComposedScenes, render_frame, render_sound
from avgn.data.material import load_material
from avgn.data.plan import KINDS, Settings, piece_box, plan, schedule, settings
from avgn.data.scenes import encode, read_scenes, record_of, render_all
from avgn.errors import InputError, UsageError

SMALL = Settings(width=128, height=96)
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(scope="module")
def material(tmp_path_factory):
    return load_material(draw_material(tmp_path_factory.mktemp("scenes") / "material"))


def pixels(scene, material, time, shape=(96, 128)):
    return np.asarray(render_frame(scene, material, time, *shape)).astype(int)


def overlap(one, other):
    return min(one[1], other[1]) > max(one[0], other[0])


@given(seeds, st.sampled_from(KINDS), st.booleans(), st.booleans())
@examples(max_examples=60, deadline=None)
def test_a_plan_keeps_what_its_kind_promises(material, seed, kind, tiny, augment):
    chosen = settings(tiny=tiny, augment=augment)
    scene = plan(material, seed, chosen, kind, "blue")
    assert scene == plan(material, seed, chosen, kind, "blue")
    assert 8.0 <= scene.duration <= 10.0 + 1 / 15
    things = [*scene.pieces, *scene.sounds]
    for thing in things:
        start, end = thing.interval
        assert start >= 0 and end <= scene.duration + 0.001 and 2.499 <= end - start <= 4.501
    own = [thing for thing in things if thing.label == "blue"]
    decoys = [thing for thing in things if thing.label != "blue"]
    assert [len(scene.pieces), len(scene.sounds)] == {"both": [2, 2], "seen": [1, 0], "heard": [0, 1]}[kind]
    assert len(own) == (2 if kind == "both" else 1) and all(thing.interval == scene.interval for thing in own)
    assert len({thing.label for thing in decoys}) == len(decoys)
    assert not any(overlap(thing.interval, scene.interval) for thing in decoys)


def test_the_labels_moment_comes_early_amid_and_late_and_is_not_told_by_its_length(material):
    scenes = [plan(material, seed, SMALL, "both") for seed in range(600)]
    middles = [sum(scene.interval) / 2 / scene.duration for scene in scenes]
    thirds = np.histogram(middles, bins=(0, 0.4, 0.6, 1))[0] / len(scenes)
    assert thirds.min() > 0.25
    own = [np.diff(scene.interval)[0] for scene in scenes]
    decoys = [np.diff(thing.interval)[0] for s in scenes for thing in (*s.pieces, *s.sounds) if thing.label != s.label]
    assert np.mean(own) == pytest.approx(np.mean(decoys), rel=0.1)
    met = [overlap(scene.pieces[1].interval, scene.sounds[1].interval) for scene in scenes]
    assert 0.5 < np.mean(met) < 0.8  # an object and a sound that do not belong together are no rarity


@given(seeds, st.booleans(), st.booleans(), st.floats(0, 1))
@examples(max_examples=60, deadline=None)
def test_pieces_stay_in_the_frame_and_in_the_range_of_sizes(material, seed, tiny, augment, u):
    chosen = settings(tiny=tiny, augment=augment)
    scene = plan(material, seed, chosen, "both")
    for piece in scene.pieces:
        start, end = piece.interval
        y0, x0, y1, x1 = piece_box(piece, start + u * (end - start), scene.shape)
        assert min(y0, x0) >= -1e-9 and max(y1, x1) <= 1 + 1e-9
        longer = max((y1 - y0) * chosen.height, (x1 - x0) * chosen.width) / chosen.height
        assert chosen.size[0] - 1e-9 <= longer <= chosen.size[1] + 1e-9


@given(st.integers(0, 1000), st.integers(0, 50))
@examples(max_examples=30, deadline=None)
def test_every_deal_holds_each_kind_with_each_class_once(seed, deal):
    classes = tuple(COLOURS)
    size = len(KINDS) * len(classes)
    dealt = [schedule(classes, deal * size + index, seed) for index in range(size)]
    assert {(kind, label) for _, kind, label in dealt} == {(kind, label) for kind in KINDS for label in classes}
    assert [kind for _, kind, _ in dealt[:3]] == list(KINDS)
    assert len({clip_seed for clip_seed, _, _ in dealt}) == size


@given(seeds, st.floats(0, 1))
@examples(max_examples=40, deadline=None)
def test_the_object_is_visible_in_its_box_within_its_interval_and_nowhere_else(material, seed, u):
    scene = plan(material, seed, SMALL, "seen")
    without = dataclasses.replace(scene, pieces=())
    time = u * scene.duration
    difference = np.abs(pixels(scene, material, time) - pixels(without, material, time)).max(axis=-1)
    box = scene.box(time)
    assert (box is not None) == scene.salient(time)
    if box is None:
        assert not difference.any()
        return
    y0, x0, y1, x1 = np.array(box) * (96, 128, 96, 128)
    rows, columns = np.nonzero(difference)
    if len(rows):
        assert y0 - 1 <= rows.min() and rows.max() <= y1 + 1 and x0 - 1 <= columns.min() and columns.max() <= x1 + 1
    if min(time - scene.interval[0], scene.interval[1] - time) > 0.2:
        middle = pixels(scene, material, time)[round((y0 + y1) / 2), round((x0 + x1) / 2)]
        assert np.abs(middle - COLOURS[scene.label]).max() <= 2
        covered = difference[round(y0) : round(y1), round(x0) : round(x1)] > 0
        assert covered.mean() > 0.75  # the box is no larger than the object


@pytest.mark.parametrize("seed", range(4))
def test_a_piece_fades_in_and_out_and_only_its_rim_is_soft(material, seed):
    scene = plan(material, seed, Settings(), "seen")

    def opacity(time):
        """Of the inner half of the box: 0 background, 1 the class's colour."""
        y0, x0, y1, x1 = np.array(scene.box(time)) * (360, 480, 360, 480)
        rows = slice(round(y0 + (y1 - y0) / 4), round(y1 - (y1 - y0) / 4))
        columns = slice(round(x0 + (x1 - x0) / 4), round(x1 - (x1 - x0) / 4))
        shown = pixels(scene, material, time, (360, 480))[rows, columns]
        ground = pixels(dataclasses.replace(scene, pieces=()), material, time, (360, 480))[rows, columns]
        shares = (shown - ground) / (COLOURS[scene.label] - ground)
        return shares.min(), shares.max()

    start, end = scene.interval
    for moment in (start + 0.03, end - 0.03):
        assert opacity(moment)[0] > 0.1 and opacity(moment)[1] < 0.3
    assert opacity((start + end) / 2)[0] > 0.95


def test_the_label_changes_nothing_in_what_is_rendered(material):
    scene = plan(material, 3, SMALL, "both", "red")
    decoy = next(piece for piece in scene.pieces if piece.label != "red")
    other = dataclasses.replace(scene, label=decoy.label, interval=decoy.interval)
    for time in np.linspace(0, scene.duration, 20):
        assert np.array_equal(pixels(scene, material, time), pixels(other, material, time))
    assert np.array_equal(render_sound(scene, material), render_sound(other, material))


def test_frames_agree_across_sizes(material):
    scene = plan(material, 8, Settings(), "seen")
    time = sum(scene.interval) / 2
    large = render_frame(scene, material, time, 360, 480).resize((128, 96))
    difference = np.abs(np.asarray(large).astype(int) - pixels(scene, material, time))
    assert difference.mean() < 2


def rms_db(wave):
    return 10 * np.log10(np.square(wave, dtype=np.float64).mean())


@pytest.mark.parametrize("seed", range(6))
def test_sound_lies_in_its_interval_at_its_level_and_pitch(material, seed):
    scene = plan(material, seed, SMALL, "heard")
    bed = render_sound(dataclasses.replace(scene, sounds=()), material)
    added = render_sound(scene, material) - bed
    assert len(bed) == round(scene.duration * RATE) and bed.dtype == np.float32 and np.abs(bed).max() < 0.99
    first, last = (round(edge * RATE) for edge in scene.interval)
    assert not added[:first].any() and not added[last:].any()
    inner = added[first + RATE // 10 : last - RATE // 10]
    assert rms_db(inner) == pytest.approx(scene.level_db, abs=0.3)
    assert rms_db(bed) == pytest.approx(scene.level_db - scene.snr_db, abs=0.5)
    peak = np.argmax(np.abs(np.fft.rfft(inner * np.hanning(len(inner))))) * RATE / len(inner)
    assert peak == pytest.approx(TONES[scene.label], rel=0.01)


def test_a_mix_too_loud_is_scaled_not_clipped(material):
    scene = dataclasses.replace(plan(material, 1, SMALL, "heard"), level_db=6.0)
    assert np.abs(render_sound(scene, material)).max() == pytest.approx(0.99, abs=1e-4)


def test_louder_means_more_noise_and_augmenting_changes_speed_and_looks(material):
    assert all(-10 <= plan(material, seed, settings(louder=True)).snr_db <= 0 for seed in range(20))
    clean, varied = (plan(material, 4, settings(augment=flag), "both") for flag in (False, True))
    assert {sound.speed for sound in clean.sounds} == {1.0} and len({piece.look for piece in clean.pieces}) == 1
    assert 1.0 not in {sound.speed for sound in varied.sounds} and len({piece.look for piece in varied.pieces}) == 2


def decode(data):
    with av.open(io.BytesIO(data)) as container:
        video, audio = container.streams.video[0], container.streams.audio[0]
        assert (video.codec_context.name, audio.codec_context.name) == ("h264", "aac")
        frames = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video)]
    with av.open(io.BytesIO(data)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
    return frames, sound


def test_the_mp4_shows_and_plays_what_was_rendered(material):
    scene = plan(material, 21, SMALL, "both", "green")
    data = encode(scene, material)
    assert data == encode(scene, material)
    frames, sound = decode(data)
    assert len(frames) == scene.frames
    for time, frame in frames[::10]:
        error = np.square(frame.astype(float) - pixels(scene, material, time)).mean()
        assert 10 * np.log10(255**2 / error) > 28
    wave = render_sound(scene, material)
    assert abs(len(sound) - len(wave)) <= 1024
    size = min(len(sound), len(wave))
    spectrum = np.fft.rfft(sound[:size]) * np.conj(np.fft.rfft(wave[:size]))
    lag = int(np.argmax(np.fft.irfft(spectrum, size)))
    assert min(lag, size - lag) <= 1
    assert np.corrcoef(sound[:size], wave[:size])[0, 1] > 0.95


class StopError(Exception):
    pass


def test_rendering_goes_on_where_it_was_stopped_and_extends(material, tmp_path):
    def stop(done, clips):
        if done == 2:
            raise StopError

    with pytest.raises(StopError):
        render_all(material, tmp_path / "a", 5, 9, SMALL, stop)
    assert len(read_scenes(tmp_path / "a")) == 2
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.mp4")}
    seen = []
    records = render_all(material, tmp_path / "a", 5, 9, SMALL, lambda done, clips: seen.append((done, clips)))
    assert seen == [(done, 5) for done in range(1, 6)]
    after = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "a").glob("*.mp4")}
    assert len(before) == 2 and len(after) == 5 and before.items() <= after.items()
    assert read_scenes(tmp_path / "a") == records

    whole = render_all(material, tmp_path / "b", 3, 9, SMALL)
    assert whole == records[:3]
    assert all((tmp_path / "a" / r.file).read_bytes() == (tmp_path / "b" / r.file).read_bytes() for r in whole)
    assert {path.name for path in (tmp_path / "b").iterdir()} == {"scenes.jsonl", *(r.file for r in whole)}


def test_another_call_does_not_write_over_scenes(material, tmp_path):
    render_all(material, tmp_path, 1, 1, SMALL)
    kept = (tmp_path / "scenes.jsonl").read_bytes()
    with pytest.raises(UsageError, match="another call"):
        render_all(material, tmp_path, 1, 2, SMALL)
    assert (tmp_path / "scenes.jsonl").read_bytes() == kept


def test_wrong_numbers_places_and_records_are_refused(material, tmp_path):
    with pytest.raises(UsageError, match="clips is 0"):
        render_all(material, tmp_path, 0, 1, SMALL)
    with pytest.raises(UsageError, match="negative"):
        render_all(material, tmp_path / "c", 1, -1, SMALL)
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="file"):
        render_all(material, tmp_path / "file", 1, 1, SMALL)
    with pytest.raises(InputError, match="avgn scenes"):
        read_scenes(tmp_path / "nowhere")
    (tmp_path / "scenes.jsonl").write_text('\n{"file": 1}\n')
    with pytest.raises(InputError, match=r"scenes\.jsonl:2"):
        read_scenes(tmp_path)
    with pytest.raises(ValueError, match="room"):
        Settings(duration=(5.0, 6.0))


@pytest.mark.parametrize("kind", KINDS)
def test_a_record_is_the_truth_of_its_plan(material, kind):
    scene = plan(material, 17, SMALL, kind, "amber")
    record = record_of("x.mp4", scene, "all")
    times = np.linspace(0, scene.duration, 101)
    assert record.salient(times).tolist() == [scene.salient(time) for time in times]
    for time, box in zip(times, record.boxes_at(times), strict=True):
        truth = scene.box(time)
        assert np.isnan(box).all() if truth is None else np.allclose(box, truth, atol=0.01)
    assert len(record.boxes) == 0 if kind == "heard" else abs(len(record.boxes) / 15 - np.diff(scene.interval)) < 0.1
    assert [decoy.what for decoy in record.decoys] == (["object", "sound"] if kind == "both" else [])
    assert "amber" not in {decoy.label for decoy in record.decoys}
    again = plan(material, record.seed, SMALL, record.kind, record.label)
    assert again == scene and set(record.sources) >= {part.file for part in (*again.pieces, *again.sounds)}


def test_composed_scenes_hold_the_moments_of_their_plans(material):
    config = Config(snippets=8)
    made = ComposedScenes(material, config, 12, 3, Settings())
    for index in range(3):
        scene, clip = made.plan(index), made.compose(index)
        assert clip.frames.shape == (8, 3, 224, 224) and clip.pictures.shape == (8, 3, 288, 384)
        assert clip.sound.shape == (8, config.sound.samples) and clip.heard.all() and clip.seen.all()
        assert np.allclose(clip.times, (np.arange(8) + 0.5) * scene.duration / 8)
        wave, middles = render_sound(scene, material), clip.starts / RATE + config.sound.seconds / 2
        assert (clip.starts % config.sound.hop == 0).all()
        assert np.abs(middles - clip.times)[1:-1].max() <= config.sound.hop / RATE
        for place, time in enumerate(clip.times):
            start = clip.starts[place]
            assert np.array_equal(clip.sound[place], wave[start : start + config.sound.samples])
            truth = pixels(scene, material, float(time), (288, 384))
            assert np.array_equal(clip.pictures[place].transpose(1, 2, 0), truth)
            blocks = truth.reshape(8, 36, 8, 48, 3).mean((1, 3)).transpose(2, 0, 1)
            assert np.abs(clip.frames[place].reshape(3, 8, 28, 8, 28).mean((2, 4)) - blocks).max() < 3
        assert clip.salient.tolist() == [scene.salient(time) for time in clip.times]
        assert clip.boxed.tolist() == [scene.box(time) is not None for time in clip.times]
        assert material.classes[clip.label] == scene.label and clip.kind == scene.kind


def test_composing_is_repeatable_and_new_every_epoch(material):
    made = ComposedScenes(material, Config(snippets=4), 6, 3, settings(augment=True))
    one, same, later = made.compose(0), made.compose(0), made.compose(0, epoch=1)
    for field in dataclasses.fields(one):
        assert np.array_equal(getattr(one, field.name), getattr(same, field.name))
    assert not np.array_equal(one.pictures, later.pictures) and not np.array_equal(one.sound, later.sound)
    parts = np.floor(one.times / (made.plan(0).duration / 4))
    assert parts.tolist() == [0, 1, 2, 3] and len(set(np.diff(one.times).round(6))) == 3


def test_a_rate_that_is_not_the_configs_is_refused(material):
    slow = load_material(material.folder, rate=16_000)
    with pytest.raises(ValueError, match="rate"):
        ComposedScenes(slow, Config(), 1, 1, Settings())
