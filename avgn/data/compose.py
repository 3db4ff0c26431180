"""Frames and sound of a scene, as pure functions of its plan, and scenes composed on the fly for training."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from avgn.config import Config, SoundConfig
from avgn.data.material import Material
from avgn.data.plan import Background, Kind, Look, Piece, Scene, Settings, inside, piece_box, plan, schedule
from avgn.snippets import snippet_times, sound_start

_APPEAR = 0.15  # seconds in which a piece fades in, and out
_ATTACK = 0.05  # seconds in which a sound fades in, and out
_FEATHER = 0.2  # the soft rim of a piece, as a fraction of its half side
_PEAK = 0.99  # the sample value that a mix never exceeds


def render_frame(scene: Scene, material: Material, time: float, height: int, width: int) -> Image.Image:
    """The RGB frame at `time` (seconds), `height` x `width`; the plan's own shape, or any other of like proportions."""
    canvas = _view(scene.background, material, time / scene.duration, height, width)
    for piece in scene.pieces:
        if inside(piece.interval, time):
            _paste(canvas, piece, material, time, scene.shape)
    return canvas


def render_sound(scene: Scene, material: Material) -> NDArray[np.float32]:
    """The whole waveform [round(duration * rate)] in -1..1 at the material's rate.

    Sounds have the plan's level over their loud part, the noise lies `snr_db` lower; a mix too loud is scaled down.
    """
    rate = material.rate
    count = round(scene.duration * rate)
    mix = _excerpt(material.wave(scene.noise), scene.noise_offset, 1.0, count) * _gain(scene.level_db - scene.snr_db)
    for sound in scene.sounds:
        first, last = (min(round(edge * rate), count) for edge in sound.interval)
        wave = _excerpt(material.wave(sound.file), sound.offset, sound.speed, last - first)
        ramp = np.minimum(np.arange(last - first, dtype=np.float32) / (_ATTACK * rate), 1.0).astype(np.float32)
        mix[first:last] += wave * ramp * ramp[::-1] * _gain(scene.level_db + sound.gain_db)
    return mix * np.float32(min(1.0, _PEAK / max(float(np.abs(mix).max()), 1e-9)))


@dataclass(frozen=True, eq=False)
class Composed:
    """What a model sees of one scene, and the truth about it.

    frames [T,3,G,G] and pictures [T,3,R,R*W/H] are RGB uint8 of the same moments; sound [T,S] float32 in -1..1 with
    first samples `starts` [T]; heard, seen, salient, boxed [T] bool; boxes [T,4] (y0, x0, y1, x1), zeros where not
    boxed; times [T] seconds; label is the class's index.
    """

    frames: NDArray[np.uint8]
    pictures: NDArray[np.uint8]
    sound: NDArray[np.float32]
    starts: NDArray[np.int64]
    heard: NDArray[np.bool_]
    seen: NDArray[np.bool_]
    times: NDArray[np.float64]
    label: int
    kind: Kind
    salient: NDArray[np.bool_]
    boxed: NDArray[np.bool_]
    boxes: NDArray[np.float32]


@dataclass(frozen=True)
class ComposedScenes:
    """`clips` scenes an epoch, other ones each epoch, straight from the material without a codec in between.

    The material's rate must be the config's. With `settings.augment`, a snippet's moment lies anywhere in its part of
    the clip instead of the middle.
    """

    material: Material
    config: Config
    clips: int
    seed: int
    settings: Settings

    def __post_init__(self) -> None:
        if self.material.rate != self.config.sound.rate:
            raise ValueError("the material's rate must be config.sound.rate")

    def __len__(self) -> int:
        return self.clips

    def plan(self, index: int, epoch: int = 0) -> Scene:
        """The scene `index` (0..clips-1) of `epoch`; the balance of kinds and labels runs on over the epochs."""
        seed, kind, label = schedule(self.material.classes, epoch * self.clips + index, self.seed)
        return plan(self.material, seed, self.settings, kind, label)

    def compose(self, index: int, epoch: int = 0) -> Composed:
        """Scene `index` of `epoch` at the T snippets of the config. Same arguments, same arrays."""
        scene, config = self.plan(index, epoch), self.config
        times = snippet_times(scene.duration, config.snippets)
        if self.settings.augment:
            shift = np.random.default_rng([scene.seed, 1]).uniform(-0.5, 0.5, config.snippets)
            times = times + shift * scene.duration / config.snippets
        return self.compose_at(scene, times)

    def compose_at(self, scene: Scene, times: NDArray[np.float64]) -> Composed:
        """`scene` at any moments [T] (seconds)."""
        config = self.config
        frames, pictures = self._look(scene, times)
        sound, starts, heard = _windows(render_sound(scene, self.material), times, config.sound)
        boxes = [scene.box(time) for time in times]
        return Composed(
            frames=frames,
            pictures=pictures,
            sound=sound,
            starts=starts,
            heard=heard,
            seen=np.ones(len(times), np.bool_),
            times=times,
            label=self.material.classes.index(scene.label),
            kind=scene.kind,
            salient=np.array([scene.salient(time) for time in times]),
            boxed=np.array([box is not None for box in boxes]),
            boxes=np.array([box or (0.0, 0.0, 0.0, 0.0) for box in boxes], np.float32),
        )

    def _look(self, scene: Scene, times: NDArray[np.float64]) -> tuple[NDArray[np.uint8], NDArray[np.uint8]]:
        side, short = self.config.frame.size, self.config.patch.short_side
        height, width = (round(short * extent / min(scene.shape)) for extent in scene.shape)
        frames = np.empty((len(times), 3, side, side), np.uint8)
        pictures = np.empty((len(times), 3, height, width), np.uint8)
        for index, time in enumerate(times):
            picture = render_frame(scene, self.material, float(time), height, width)
            pictures[index] = np.asarray(picture).transpose(2, 0, 1)
            small = picture.resize((side, side), Image.Resampling.BILINEAR)
            frames[index] = np.asarray(small).transpose(2, 0, 1)
        return frames, pictures


def _view(background: Background, material: Material, u: float, height: int, width: int) -> Image.Image:
    """The background's part that is in view at `u` (0..1 of the clip)."""
    picture = material.picture(background.file)
    y, x, zoom = (a + (b - a) * u for a, b in zip(background.start, background.end, strict=True))
    scale = min(picture.width / width, picture.height / height) / zoom
    left, top = x * (picture.width - scale * width), y * (picture.height - scale * height)
    # Rounding may leave the picture by a hair, which Pillow refuses.
    box = (left, top, min(left + scale * width, picture.width), min(top + scale * height, picture.height))
    return _toned(picture.resize((width, height), Image.Resampling.BILINEAR, box=box), background.look)


def _paste(canvas: Image.Image, piece: Piece, material: Material, time: float, shape: tuple[int, int]) -> None:
    """Blend the piece into the canvas; objects and decoys alike."""
    y0, x0, y1, x1 = piece_box(piece, time, shape)
    left, top = round(x0 * canvas.width), round(y0 * canvas.height)
    size = max(round((x1 - x0) * canvas.width), 1), max(round((y1 - y0) * canvas.height), 1)
    picture = material.picture(piece.file)
    crop = piece.look.crop
    part = (crop[1] * picture.width, crop[0] * picture.height, crop[3] * picture.width, crop[2] * picture.height)
    patch = _toned(picture.resize(size, Image.Resampling.BILINEAR, box=part), piece.look)
    opacity = min((time - piece.interval[0]) / _APPEAR, (piece.interval[1] - time) / _APPEAR, 1.0)
    mask = _soft_mask().resize(size, Image.Resampling.BILINEAR).point([round(opacity * value) for value in range(256)])
    canvas.paste(patch, (left, top), mask)


def _toned(picture: Image.Image, look: Look) -> Image.Image:
    """Mirror and tint."""
    if look.flip:
        picture = picture.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
    if look.contrast == 1.0 and look.gains == (1.0, 1.0, 1.0):
        return picture
    values = np.arange(256)[None, :] * np.array(look.gains)[:, None]
    table = np.clip((values - 128) * look.contrast + 128, 0, 255).round().astype(int)
    return picture.point(table.ravel().tolist())


@cache
def _soft_mask() -> Image.Image:
    """Opacity of a piece: a rounded square (superellipse of power 4) with a soft rim, 0 along its border."""
    axis = np.abs((np.arange(256) + 0.5) / 128 - 1) ** 4
    radius = (axis[:, None] + axis[None, :]) ** 0.25
    ramp = np.clip((1 - radius) / _FEATHER, 0, 1)
    return Image.fromarray((255 * ramp * ramp * (3 - 2 * ramp)).round().astype(np.uint8))


def _excerpt(wave: NDArray[np.float32], offset: float, speed: float, count: int) -> NDArray[np.float32]:
    """`count` samples from `offset` (0..1) of the recording on, running over its end into its beginning."""
    start = int(offset * len(wave))
    if speed == 1.0:
        return np.take(wave, np.arange(start, start + count), mode="wrap")
    places = start + np.arange(count) * speed
    whole = places.astype(np.int64)
    part = (places - whole).astype(np.float32)
    here, there = np.take(wave, whole, mode="wrap"), np.take(wave, whole + 1, mode="wrap")
    return here + part * (there - here)


def _gain(decibels: float) -> np.float32:
    return np.float32(10 ** (decibels / 20))


def _windows(
    wave: NDArray[np.float32], times: NDArray[np.float64], sound: SoundConfig
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.bool_]]:
    """The sound around each moment: [T,S], first samples [T] and whether there is sound at all [T]."""
    windows = np.zeros((len(times), sound.samples), np.float32)
    starts = np.zeros(len(times), np.int64)
    heard = np.zeros(len(times), np.bool_)
    for index, time in enumerate(times):
        start = sound_start(float(time), 0, len(wave), sound)
        if start is not None:
            part = wave[start : start + sound.samples]
            windows[index, : len(part)], starts[index], heard[index] = part, start, True
    return windows, starts, heard
