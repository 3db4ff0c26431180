"""Frames and sound belong to their timestamps, in every kind of file."""

from __future__ import annotations

import struct
import sys
from concurrent.futures import ThreadPoolExecutor
from fractions import Fraction
from pathlib import Path
from threading import get_ident

import av
import numpy as np
import pytest

from avgn import pictures
from avgn.config import Config
from avgn.media import probe, read_clip, read_timeline
from avgn.pictures import FramePicture
from avgn.snippets import Clip, snippet_times
from avgn.tracks import Track, plausible
from clips import drawn, known_sound, lag_of, number_of, write_clip

CONFIG = Config(snippets=8, chosen=4)
RATE = CONFIG.sound.rate
WEBM = {"codec": "libvpx", "sound": "libopus", "rate": 48000, "sound_form": "flt"}
PCM = {"size": None, "sound": "pcm_s16le", "sound_form": "s16"}


def numbers(clip: Clip) -> list[int | None]:
    return [number_of(picture.squashed(64)) if picture else None for picture in clip.pictures]


def offset_of(clip: Clip, stamps: list[float]) -> float:
    """The clip's time of what was written at time 0, the same for all frames."""
    offsets = [clip.times[i] - stamps[n] for i, n in enumerate(numbers(clip)) if n is not None]
    assert max(offsets) - min(offsets) < 0.002
    return float(np.mean(offsets))


def lags(clip: Clip) -> list[float]:
    """How late each heard window is against the known sound, in seconds."""
    found = [lag_of(clip.sound[i], int(clip.starts[i]), RATE) for i in np.flatnonzero(clip.heard)]
    assert min(score for _, score in found) > 0.8
    return [lag for lag, _ in found]


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("clip.mp4", {}),
        ("clip.mov", {}),
        ("clip.mkv", {}),
        ("clip.ts", {}),
        ("clip.flv", {}),
        ("b-frames.avi", {"sound": "pcm_s16le", "sound_form": "s16"}),
        ("clip.webm", WEBM),
        ("live.mkv", {"options": {"live": "1"}}),
        ("fragments.mp4", {"options": {"movflags": "frag_keyframe+empty_moov"}}),
        ("intra.avi", {"codec": "mjpeg", "pixels": "yuvj420p", "sound": "pcm_s16le", "sound_form": "s16"}),
        ("odd.mkv", {"rate": 11025, "sound": "pcm_u8", "sound_form": "u8"}),
        ("high.mkv", {"rate": 96000, "sound": "pcm_f64le", "sound_form": "dbl", "layout": "stereo"}),
        ("surround.mp4", {"rate": 48000, "layout": "5.1"}),
    ],
)
def test_frame_and_sound_belong_to_the_timestamp(tmp_path: Path, name: str, how: dict) -> None:
    stamps = write_clip(tmp_path / name, 3.0, **how)
    clip = read_clip(tmp_path / name, CONFIG)
    offset = offset_of(clip, stamps)
    assert abs(clip.duration - 3.0 - offset) < 0.1
    planned = snippet_times(clip.duration, CONFIG.snippets)
    assert np.all(clip.times <= planned + 1e-6) and np.all(planned - clip.times < 0.1 + 0.002)
    assert clip.seen.all() and clip.heard.all() and clip.damaged == 0
    # One clock: the sound is late by exactly what the picture is late.
    assert max(abs(lag - offset) for lag in lags(clip)) < 0.002
    assert clip.sound.shape == (8, CONFIG.sound.samples) and clip.sound.dtype == np.float32
    assert (clip.starts % CONFIG.sound.hop == 0).all()


def test_priming_samples_of_aac_are_not_sound(tmp_path: Path) -> None:
    stamps = write_clip(tmp_path / "clip.mp4", 3.0)
    clip = read_clip(tmp_path / "clip.mp4", CONFIG)
    assert abs(offset_of(clip, stamps)) < 1e-3 and max(map(abs, lags(clip))) < 1e-3


@pytest.mark.parametrize(("start", "sound_start"), [(1.5, 0.0), (0.0, 1.5), (5.0, 6.0), (7.0, 5.0)])
@pytest.mark.parametrize("name", ["clip.mp4", "clip.mkv", "clip.ts"])
def test_tracks_that_start_apart_share_one_clock(tmp_path: Path, name: str, start: float, sound_start: float) -> None:
    stamps = write_clip(tmp_path / name, 4.0, start=start, sound_start=sound_start)
    clip = read_clip(tmp_path / name, CONFIG)
    offset = offset_of(clip, stamps)
    assert abs(offset + min(start, sound_start)) < 0.05
    assert abs(clip.duration - 4.0 - abs(start - sound_start)) < 0.1
    origin = round(offset * RATE)
    for i in np.flatnonzero(clip.heard):
        lag, score = lag_of(clip.sound[i], int(clip.starts[i]) - origin, RATE)
        assert abs(lag) < 0.002 and score > 0.8
    late = clip.times - offset < sound_start - CONFIG.sound.seconds
    assert not clip.heard[late].any() and not clip.sound[~clip.heard].any()


def test_variable_frame_rate_shows_the_frame_on_display(tmp_path: Path) -> None:
    stamps = write_clip(tmp_path / "clip.mp4", 4.0, times=[0, 0.1, 0.15, 1.0, 1.05, 2.0, 3.3, 3.9], sound=None)
    clip = read_clip(tmp_path / "clip.mp4", Config(snippets=64))
    expected = [max(i for i, s in enumerate(stamps) if s <= t + 1e-6) for t in snippet_times(clip.duration, 64)]
    assert numbers(clip) == expected
    assert np.allclose(clip.times, [stamps[n] for n in expected], atol=1e-3)


@pytest.mark.parametrize("rotation", [90, -90, 180])
def test_rotated_pictures_are_turned_upright(tmp_path: Path, rotation: int) -> None:
    write_clip(tmp_path / "clip.mp4", 1.0, size=(64, 96), rotation=rotation, sound=None)
    clip = read_clip(tmp_path / "clip.mp4", CONFIG)
    assert numbers(clip) == [0, 1, 3, 4, 5, 6, 8, 9]
    upright = clip.pictures[3].scaled(48)
    assert upright.shape == (72, 48, 3)
    assert np.abs(upright.astype(int) - drawn(4, (48, 72))).mean() < 12
    info = probe(tmp_path / "clip.mp4")
    assert (info.width, info.height, info.rotation) == (64, 96, -rotation % 360)


@pytest.mark.parametrize(("aspect", "shape"), [(Fraction(2), (64, 192)), (Fraction(1, 2), (85, 64))])
def test_pixels_become_square(tmp_path: Path, aspect: Fraction, shape: tuple[int, int]) -> None:
    write_clip(tmp_path / "clip.mp4", 1.0, size=(96, 64), aspect=aspect, sound=None)
    picture = read_clip(tmp_path / "clip.mp4", CONFIG).pictures[0]
    assert picture.scaled(64).shape == (*shape, 3) and picture.squashed(32).shape == (3, 32, 32)


def test_pictures_hold_the_colours_of_the_file(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 0.5, size=(128, 96), sound=None)
    picture = read_clip(tmp_path / "clip.mp4", CONFIG).pictures[0]
    truth = drawn(0, (128, 96)).astype(int)
    assert picture.scaled(96).dtype == np.uint8 and np.abs(picture.scaled(96) - truth).mean() < 8
    assert np.abs(picture.squashed(96).transpose(1, 2, 0) - drawn(0, (96, 96)).astype(int)).mean() < 8
    assert picture.frame.format.name == "yuv420p"  # kept as decoded until asked


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("sound.m4a", {"size": None}),
        ("sound.mp3", {"size": None, "sound": "mp3"}),
        ("sound.flac", {"size": None, "sound": "flac", "sound_form": "s16"}),
        ("sound.wav", PCM),
        ("three.wav", {**PCM, "layout": "3 channels"}),
        ("sixteen.wav", {**PCM, "layout": "16 channels"}),
        ("low.wav", {**PCM, "rate": 8000}),
        ("stereo.wav", {**PCM, "rate": 44100, "layout": "stereo"}),
    ],
)
def test_sound_alone(tmp_path: Path, name: str, how: dict) -> None:
    write_clip(tmp_path / name, 3.0, **how)
    clip = read_clip(tmp_path / name, CONFIG)
    assert abs(clip.duration - 3.0) < 0.06 and not clip.seen.any() and clip.pictures == (None,) * 8
    assert clip.heard.all() and max(map(abs, lags(clip))) < 0.002
    assert np.allclose(clip.times, snippet_times(clip.duration, 8))
    # Equal channels are averaged, not added: the loudness stays.
    truth = known_sound((clip.starts[3] + np.arange(CONFIG.sound.samples)) / RATE)
    assert abs(clip.sound[3].std() / truth.std() - 1) < 0.1


def test_cover_art_is_not_a_picture_track(tmp_path: Path) -> None:
    write_clip(tmp_path / "sound.mp3", 2.0, size=None, sound="mp3")
    write_clip(tmp_path / "cover.png", 0.1, sound=None, codec="png", pixels="rgb24", form="image2")
    image = b"\0image/png\0\3\0" + (tmp_path / "cover.png").read_bytes()
    tag = b"APIC" + struct.pack(">IH", len(image), 0) + image
    size = bytes(len(tag) >> shift & 127 for shift in (21, 14, 7, 0))
    (tmp_path / "album.mp3").write_bytes(b"ID3\3\0\0" + size + tag + (tmp_path / "sound.mp3").read_bytes())
    with av.open(str(tmp_path / "album.mp3")) as container:
        assert len(container.streams.video) == 1
    clip = read_clip(tmp_path / "album.mp3", CONFIG)
    assert not clip.seen.any() and clip.heard.all() and probe(tmp_path / "album.mp3").width is None


@pytest.mark.parametrize(
    ("name", "how"),
    [
        ("still.png", {"codec": "png", "pixels": "rgb24", "form": "image2"}),
        ("still.jpg", {"codec": "mjpeg", "pixels": "yuvj420p", "form": "image2"}),
        ("still.gif", {"codec": "gif", "pixels": "rgb8"}),
        ("still.mp4", {}),
    ],
)
def test_a_single_frame_is_every_snippet(tmp_path: Path, name: str, how: dict) -> None:
    write_clip(tmp_path / name, 0.1, sound=None, **how)
    clip = read_clip(tmp_path / name, CONFIG)
    assert numbers(clip) == [0] * 8 and clip.seen.all() and not clip.heard.any() and not clip.sound.any()
    assert (clip.times == 0).all()


def test_no_sound_and_short_sound_and_long_sound(tmp_path: Path) -> None:
    write_clip(tmp_path / "mute.mp4", 2.0, sound=None)
    assert not read_clip(tmp_path / "mute.mp4", CONFIG).heard.any()
    write_clip(tmp_path / "short.mp4", 8.0, sound_seconds=3.0)
    clip = read_clip(tmp_path / "short.mp4", CONFIG)  # snippets at 0.5, 1.5, 2.5, 3.5 s ...; windows reach 0.65 s
    assert clip.heard.tolist() == [True] * 4 + [False] * 4 and clip.seen.all()
    last = 3 * RATE - CONFIG.sound.samples
    assert clip.starts[3] == last // CONFIG.sound.hop * CONFIG.sound.hop and abs(lags(clip)[3]) < 0.002
    write_clip(tmp_path / "long.mp4", 2.0, sound_seconds=8.0)
    clip = read_clip(tmp_path / "long.mp4", CONFIG)  # the last frame stays for a second, then nothing is seen
    assert clip.seen.tolist() == [True] * 3 + [False] * 5 and clip.heard.all() and numbers(clip)[2] == 19
    assert clip.times.tolist()[3:] == snippet_times(clip.duration, 8).tolist()[3:]
    write_clip(tmp_path / "tiny.mp4", 0.2)
    clip = read_clip(tmp_path / "tiny.mp4", CONFIG)
    assert clip.heard.all() and (clip.starts == 0).all() and not clip.sound[:, RATE // 2 :].any()


@pytest.mark.parametrize("name", ["clip.mkv", "clip.mp4"])
def test_a_gap_in_the_sound_moves_what_follows(tmp_path: Path, name: str) -> None:
    stamps = write_clip(tmp_path / name, 8.0, gap=(2.5, 4.5))
    clip = read_clip(tmp_path / name, CONFIG)
    assert clip.heard.tolist() == [True, True, True, False, True, True, True, True]
    offset = round(offset_of(clip, stamps) * RATE)
    for index in (0, 1, 5, 6, 7):
        lag, score = lag_of(clip.sound[index], int(clip.starts[index]) - offset, RATE)
        assert abs(lag) < 0.002 and score > 0.9


@pytest.mark.parametrize(
    ("name", "how", "seconds"),
    [
        ("raw.h264", {"sound": None, "form": "h264"}, 30 / 25),
        ("raw.aac", {"size": None, "form": "adts"}, 3.0),
        ("live.mkv", {"options": {"live": "1"}}, 3.0),
    ],
)
def test_an_unknown_duration_is_learnt(tmp_path: Path, name: str, how: dict, seconds: float) -> None:
    write_clip(tmp_path / name, 3.0, **how)
    clip = read_clip(tmp_path / name, CONFIG)
    assert abs(clip.duration - seconds) < 0.06
    assert clip.pictures[0] is None or numbers(clip) == [1, 5, 9, 13, 16, 20, 24, 28]


def test_the_largest_picture_and_the_default_sound_are_used(tmp_path: Path) -> None:
    with av.open(str(tmp_path / "clip.mkv"), "w") as container:
        small, large = (container.add_stream("mpeg4", rate=10) for _ in range(2))
        small.width, small.height, large.width, large.height = 32, 32, 128, 96
        loud, quiet = (container.add_stream("pcm_s16le", rate=RATE, layout="mono") for _ in range(2))
        loud.disposition, quiet.disposition = av.stream.Disposition(0), av.stream.Disposition.default
        for number in range(10):
            for stream, shown in ((small, 100 + number), (large, number)):
                picture = drawn(shown, (stream.width, stream.height))
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
            for stream, level in ((loud, 9000), (quiet, 100)):
                frame = av.AudioFrame.from_ndarray(np.full((1, RATE // 10), level, np.int16), "s16", "mono")
                frame.sample_rate, frame.pts = RATE, number * RATE // 10
                container.mux(stream.encode(frame))
        for stream in (small, large, loud, quiet):
            container.mux(stream.encode(None))
    clip = read_clip(tmp_path / "clip.mkv", CONFIG)
    assert set(numbers(clip)) <= set(range(10)) and clip.pictures[0].frame.width == 128
    assert abs(clip.sound.max() - 100 / 32768) < 1e-4


def test_overlapping_windows_hold_the_same_samples(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 5.0, rate=22050)
    clip = read_clip(tmp_path / "clip.mp4", Config(snippets=16))
    steps = np.diff(clip.starts)
    assert (steps < CONFIG.sound.samples).all() and steps.max() > 0
    for index, step in enumerate(steps):
        assert np.array_equal(clip.sound[index][step:], clip.sound[index + 1][: len(clip.sound[0]) - step])


def test_samples_stay_within_bounds(tmp_path: Path) -> None:
    values = np.tile(np.array([3.0, -3.0, np.nan, 0.25], "<f4").repeat(8000), 2)
    data = values.tobytes()
    head = struct.pack("<4sI4s4sIHHIIHH4sI", b"RIFF", 36 + len(data), b"WAVE", b"fmt ", 16, 3, 1, RATE, 4 * RATE, 4, 32,
                       b"data", len(data))  # fmt: skip
    (tmp_path / "wild.wav").write_bytes(head + data)
    sound = read_clip(tmp_path / "wild.wav", CONFIG).sound
    assert np.isfinite(sound).all() and sound.max() == 1.0 and sound.min() == -1.0
    assert np.array_equal(sound[0][:32000], np.tile([1.0, -1.0, 0.0, 0.25], 1).repeat(8000).astype(np.float32))


@pytest.mark.parametrize("name", ["long.mp4", "long.mkv", "long.ts", "long.avi", "mpeg4.ts"])
def test_long_files_are_read_sparsely_and_exactly(tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    codec = "mpeg4" if name.startswith("mpeg4") else "libx264"
    # AVI cannot say that AAC has priming samples.
    sound = {"sound": "pcm_s16le", "sound_form": "s16"} if name.endswith("avi") else {}
    stamps = write_clip(tmp_path / name, 160.0, fps=4, size=(64, 48), keys=8, rate=16000, codec=codec, **sound)
    decoded = []
    plain = Track._decode
    monkeypatch.setattr(Track, "_decode", lambda self, packet: decoded.append(self.kind) or plain(self, packet))
    clip = read_clip(tmp_path / name, Config(snippets=4, chosen=2))
    offset = offset_of(clip, stamps)
    assert clip.seen.all() and clip.heard.all() and abs(clip.duration - 160.0 - offset) < 0.3
    late = snippet_times(clip.duration, 4) - clip.times
    assert (late > -1e-6).all() and (late < 0.25 + 1e-3).all()
    assert max(abs(lag - offset) for lag in lags(clip)) < 0.002
    assert decoded.count("video") < 640 / 4 and decoded.count("audio") < 160 * 16000 / 1024 / 4


@pytest.mark.parametrize("keys", [5, 1000])
def test_seeking_gives_what_reading_everything_gives(tmp_path: Path, keys: int) -> None:
    write_clip(tmp_path / "clip.mkv", 60.0, fps=10, size=(64, 48), keys=keys, sound=None)
    with av.open(str(tmp_path / "clip.mkv")) as container:
        everything = [(frame.time, number_of(frame_rgb(frame))) for frame in container.decode(video=0)]
    clip = read_clip(tmp_path / "clip.mkv", CONFIG)
    for index, planned in enumerate(snippet_times(clip.duration, 8)):
        time, number = max(pair for pair in everything if pair[0] <= planned)
        assert numbers(clip)[index] == number and abs(clip.times[index] - time) < 1e-6


def frame_rgb(frame: av.VideoFrame) -> np.ndarray:
    return frame.reformat(64, 64, "rgb24").to_ndarray().transpose(2, 0, 1)


def test_a_file_cut_short_is_read_to_its_real_end(tmp_path: Path) -> None:
    write_clip(tmp_path / "whole.mp4", 20.0, options={"movflags": "faststart"})
    data = (tmp_path / "whole.mp4").read_bytes()
    (tmp_path / "part.mp4").write_bytes(data[: len(data) // 2])
    timeline = read_timeline(tmp_path / "part.mp4")
    assert 3.0 < timeline.duration < 16.0
    clip = read_clip(tmp_path / "part.mp4", CONFIG)
    assert clip.seen.all() and clip.heard.all()


def test_damage_is_skipped_counted_and_silent(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    write_clip(tmp_path / "clip.ts", 6.0, keys=5)
    data = bytearray((tmp_path / "clip.ts").read_bytes())
    for place in range(len(data) // 3, len(data) // 2, 50):
        data[place] ^= 0xFF
    (tmp_path / "clip.ts").write_bytes(data)
    clip = read_clip(tmp_path / "clip.ts", CONFIG)
    assert clip.damaged > 0 and clip.seen.all() and numbers(clip)[-1] > 50
    assert capfd.readouterr() == ("", "")


def test_probe(tmp_path: Path) -> None:
    write_clip(tmp_path / "clip.mp4", 2.0, fps=15, layout="stereo")
    info = probe(str(tmp_path / "clip.mp4"))
    assert (info.width, info.height, info.rotation, info.frame_rate, info.video_codec) == (96, 64, 0, 15.0, "h264")
    assert (info.sound_rate, info.channels, info.audio_codec) == (44100, 2, "aac")
    assert abs(info.duration - 2.0) < 0.05 and info.path.endswith("clip.mp4") and "mp4" in info.format
    write_clip(tmp_path / "mute.mp4", 1.0, sound=None)
    assert probe(tmp_path / "mute.mp4").sound_rate is None


@pytest.mark.parametrize(
    ("stamps", "kept"),
    [
        ([0, 1, 2, 3], [0, 1, 2, 3]),
        ([0, 1, 9000, 2, 3], [0, 1, 2, 3]),
        ([9000, 0, 1, 2], [0, 1, 2]),
        ([0, 1, 60, 61, 300], [0, 1, 60, 61, 300]),
        ([0, 2, 1, 3], [0, 2, 1, 3]),
        ([5], [5]),
        ([], []),
    ],
)
def test_a_timestamp_far_ahead_of_both_neighbours_is_damage(stamps: list[float], kept: list[float]) -> None:
    assert [time for time, _ in plausible((stamp, None) for stamp in stamps)] == kept


def test_the_demo_shows_and_sounds_between_3_and_6_5_seconds() -> None:
    path = Path(__file__).parents[2] / "samples" / "demo.mp4"
    assert path.stat().st_size < 600_000
    info = probe(path)
    assert (info.width, info.height, info.frame_rate, info.video_codec, info.audio_codec) == (
        480,
        360,
        15,
        "h264",
        "aac",
    )
    clip = read_clip(path, Config())
    assert abs(clip.duration - 8.0) < 0.1 and clip.seen.all() and clip.heard.all() and clip.damaged == 0
    inside = (clip.times > 3.0) & (clip.times < 6.5)
    far = (clip.times < 2.3) | (clip.times > 7.2)
    loud = clip.sound.std(axis=1)
    assert loud[inside].min() > 10 * loud[far].max()


@pytest.mark.parametrize(("name", "codec"), [("long.h264", "libx264"), ("long.m4v", "mpeg4"), ("long.ivf", "libvpx")])
def test_long_raw_streams_are_read_evenly(tmp_path: Path, name: str, codec: str) -> None:
    write_clip(tmp_path / name, 60.0, fps=10, size=(64, 48), codec=codec, sound=None)
    expected = (np.arange(8) + 0.5) * 600 / 8
    found = numbers(read_clip(tmp_path / name, CONFIG))
    assert np.abs(found - expected).max() <= 1


def test_a_frame_that_was_shown_is_not_kept():
    frame = av.VideoFrame(64, 48, "yuv420p")
    before = sys.getrefcount(frame)
    FramePicture(frame).scaled(32)
    assert sys.getrefcount(frame) == before, "a ring of references would keep megabytes until the next collection"


def test_a_scaler_that_is_kept_gives_what_a_fresh_one_does():
    random = np.random.default_rng(3)
    shots = []
    for layout, colours in (("yuv420p", 1), ("yuv420p", 5), ("yuvj420p", 5), ("rgb24", 2), ("yuv420p", 9), ("gray", 2)):
        for size in ((96, 64), (64, 64)):
            frame = av.VideoFrame(*size, layout)
            for plane in frame.planes:
                plane.update(random.integers(0, 256, plane.buffer_size, np.uint8).tobytes())
            frame.colorspace = colours
            shots.append(frame)
    kept = [FramePicture(frame).squashed(32) for frame in shots * 2]  # each after another form, twice
    for number, frame in enumerate(shots):
        pictures._scaler.cache_clear()
        fresh = FramePicture(frame).squashed(32)
        np.testing.assert_array_equal(kept[number], fresh)
        np.testing.assert_array_equal(kept[number + len(shots)], fresh)


def test_no_two_threads_share_a_scaler():
    with ThreadPoolExecutor(1) as pool:
        other = pool.submit(lambda: pictures._scaler(get_ident(), 32, 32)).result()
        assert other is not pictures._scaler(get_ident(), 32, 32)
    assert pictures._scaler(get_ident(), 32, 32) is pictures._scaler(get_ident(), 32, 32)
