"""Scenes: short videos with known salient moments and boxes, rendered to mp4 with `scenes.jsonl`, and read back.

`docs/scenes.md` says what the benchmark can show and what it cannot.
"""

from __future__ import annotations

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray

from avgn.data.compose import render_frame, render_sound
from avgn.data.material import Material
from avgn.data.plan import Kind, Piece, Scene, Settings, inside, piece_box, plan, schedule
from avgn.errors import InputError, UsageError
from avgn.files import parse_json, write_file
from avgn.schema import build, plain

INDEX = "scenes.jsonl"
_ENCODER = {"crf": "23", "preset": "veryfast", "threads": "1"}  # one thread: the same bytes on every machine size
_VERSION = 1  # part of every file name; raise it when a plan comes to look or sound different
_SAVE_EVERY = 20  # clips between two writes of the index

TimedBox = tuple[float, float, float, float, float]


@dataclass(frozen=True)
class DecoyRecord:
    """A silent object or an unseen sound of another class; boxes as in SceneRecord, none for a sound."""

    what: Literal["object", "sound"]
    label: str
    interval: tuple[float, float]
    boxes: tuple[TimedBox, ...]


@dataclass(frozen=True)
class SceneRecord:
    """One line of scenes.jsonl: the truth about a clip.

    `interval` is (start, end) in seconds, end excluded; `boxes` rows are (time, y0, x0, y1, x1) in 0..1 at the frames
    where the label's object is there (none in kind `heard`); `sources` are the material files used.
    """

    file: str
    label: str
    kind: Kind
    seed: int
    split: str
    duration: float
    width: int
    height: int
    fps: int
    interval: tuple[float, float]
    boxes: tuple[TimedBox, ...]
    decoys: tuple[DecoyRecord, ...]
    snr_db: float
    sources: tuple[str, ...]

    def salient(self, times: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Which moments [n] (seconds) lie in the salient interval: [n] bool."""
        return np.array([inside(self.interval, time) for time in times], np.bool_)

    def boxes_at(self, times: NDArray[np.float64]) -> NDArray[np.float64]:
        """Boxes [n,4] (y0, x0, y1, x1) of the label's object at `times` [n] seconds; NaN where it is not there."""
        found = np.full((len(times), 4), np.nan)
        if self.boxes:
            rows, there = np.array(self.boxes), self.salient(times)
            for axis in range(4):
                found[there, axis] = np.interp(np.asarray(times)[there], rows[:, 0], rows[:, axis + 1])
        return found


def render_all(
    material: Material,
    out: str | Path,
    clips: int,
    seed: int,
    settings: Settings,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[SceneRecord, ...]:
    """Render `clips` scenes as mp4 files into `out`, with `scenes.jsonl`; clips already there are kept.

    A file's name holds a digest of its plan, so an interrupted call goes on where it stopped, and a longer one of the
    same seed and settings extends it. `progress` is called with (done, clips). Raises UsageError for numbers out of
    range or a folder that holds the scenes of another call, InputError for unreadable material or a refused write.
    """
    if clips < 1:
        raise UsageError(f"clips is {clips}: ask for at least 1.")
    folder = Path(out)
    kept = _kept(folder)
    scenes = [_scheduled(material, index, seed, settings) for index in range(clips)]
    names = [_name(index, scene, material) for index, scene in enumerate(scenes)]
    if not kept <= set(names):
        raise UsageError(f"{folder}: holds the scenes of another call; choose an empty folder or delete it.")
    records: list[SceneRecord] = []
    try:
        for name, scene in zip(names, scenes, strict=True):
            if not (folder / name).is_file():
                write_file(folder / name, encode(scene, material))
            records.append(record_of(name, scene, material.split))
            if len(records) % _SAVE_EVERY == 0:
                _save(folder, records)
            if progress:
                progress(len(records), clips)
    finally:
        if len(records) >= len(kept):
            _save(folder, records)
    return tuple(records)


def read_scenes(path: str | Path) -> tuple[SceneRecord, ...]:
    """Read `scenes.jsonl` (or the folder that holds it); raises InputError naming the line of the first fault."""
    place = Path(path)
    index = place / INDEX if place.is_dir() else place
    try:
        lines = index.read_bytes().splitlines()
    except OSError as fault:
        raise InputError(f"{index}: cannot be read ({fault}); render scenes with `avgn scenes` first.") from fault
    named = [(f"{index}:{number}", line) for number, line in enumerate(lines, 1) if line.strip()]
    return tuple(build(SceneRecord, parse_json(line, where), where) for where, line in named)


def record_of(name: str, scene: Scene, split: str) -> SceneRecord:
    """The truth about a scene, as it is written."""
    own = [piece for piece in scene.pieces if piece.label == scene.label]
    decoys = [
        DecoyRecord("object", piece.label, piece.interval, _boxes(piece, scene))
        for piece in scene.pieces
        if piece.label != scene.label
    ]
    decoys += [
        DecoyRecord("sound", part.label, part.interval, ()) for part in scene.sounds if part.label != scene.label
    ]
    pictures, recordings = [piece.file for piece in scene.pieces], [part.file for part in scene.sounds]
    return SceneRecord(
        file=name,
        label=scene.label,
        kind=scene.kind,
        seed=scene.seed,
        split=split,
        duration=round(scene.duration, 4),
        width=scene.shape[1],
        height=scene.shape[0],
        fps=scene.fps,
        interval=scene.interval,
        boxes=_boxes(own[0], scene) if own else (),
        decoys=tuple(decoys),
        snr_db=round(scene.snr_db, 2),
        sources=(scene.background.file, scene.noise, *pictures, *recordings),
    )


def encode(scene: Scene, material: Material) -> bytes:
    """The scene as mp4: H.264 at the plan's shape and rate, mono AAC at the material's rate. Same plan, same bytes."""
    target = io.BytesIO()
    sound = render_sound(scene, material)
    cuts = [round(index * material.rate / scene.fps) for index in range(scene.frames)] + [len(sound)]
    with av.open(target, "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=scene.fps, options=_ENCODER)
        video.height, video.width = scene.shape
        video.pix_fmt, video.gop_size = "yuv420p", 2 * scene.fps
        audio = container.add_stream("aac", rate=material.rate, layout="mono")
        audio.bit_rate = 96_000
        for index in range(scene.frames):
            picture = av.VideoFrame.from_image(render_frame(scene, material, index / scene.fps, *scene.shape))
            picture.pts, picture.time_base = index, Fraction(1, scene.fps)
            container.mux(video.encode(picture))
            part = av.AudioFrame.from_ndarray(sound[None, cuts[index] : cuts[index + 1]], "fltp", "mono")
            part.sample_rate, part.pts, part.time_base = material.rate, cuts[index], Fraction(1, material.rate)
            container.mux(audio.encode(part))
        container.mux(video.encode())
        container.mux(audio.encode())
    return target.getvalue()


def _scheduled(material: Material, index: int, seed: int, settings: Settings) -> Scene:
    clip_seed, kind, label = schedule(material.classes, index, seed)
    return plan(material, clip_seed, settings, kind, label)


def _name(index: int, scene: Scene, material: Material) -> str:
    text = json.dumps([_VERSION, material.rate, plain(scene)], sort_keys=True)
    return f"scene_{index:06d}_{hashlib.sha256(text.encode()).hexdigest()[:12]}.mp4"


def _kept(folder: Path) -> set[str]:
    """Names of the clips that the folder's index lists; the folder is made where it is missing."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise InputError(f"{folder}: cannot be made a folder ({fault}); choose another path.") from fault
    return {record.file for record in read_scenes(folder)} if (folder / INDEX).exists() else set()


def _save(folder: Path, records: list[SceneRecord]) -> None:
    write_file(folder / INDEX, "".join(json.dumps(plain(record)) + "\n" for record in records))


def _boxes(piece: Piece, scene: Scene) -> tuple[TimedBox, ...]:
    times = [index / scene.fps for index in range(scene.frames) if inside(piece.interval, index / scene.fps)]
    rows = [(time, *piece_box(piece, time, scene.shape)) for time in times]
    return tuple((round(t, 4), round(a, 4), round(b, 4), round(c, 4), round(d, 4)) for t, a, b, c, d in rows)
