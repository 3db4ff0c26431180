"""What happens in a scene: a plan drawn from a seed, from which frames, sound and truth all follow.

Times are seconds from the clip's start, an interval holds its start and not its end; places and boxes are fractions of
the frame (y down, x right).
"""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np

from avgn.data.material import Material, pick
from avgn.errors import UsageError

Kind = Literal["both", "seen", "heard"]
KINDS: tuple[Kind, ...] = get_args(Kind)
Point = tuple[float, float]
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class Settings:
    """How scenes are drawn. Ranges are (lowest, highest); sizes are fractions of the frame's short side.

    `augment` is for training: pieces are cropped, mirrored and tinted, sounds change in speed and loudness.
    """

    width: int = 480
    height: int = 360
    fps: int = 15
    duration: tuple[float, float] = (8.0, 10.0)
    interval: tuple[float, float] = (2.5, 4.5)
    gap: float = 0.2
    size: tuple[float, float] = (0.25, 0.5)
    snr_db: tuple[float, float] = (-5.0, 10.0)
    level_db: tuple[float, float] = (-26.0, -20.0)
    augment: bool = False

    def __post_init__(self) -> None:
        if self.duration[0] < max(3 * self.interval[0], sum(self.interval)) + 2 * self.gap:
            raise ValueError("duration must leave room for three of the shortest intervals and their gaps")


def settings(tiny: bool = False, louder: bool = False, augment: bool = False) -> Settings:
    """The benchmark's settings and its shifts: `tiny` objects (15 to 25 %), `louder` noise (10 to 0 dB above)."""
    chosen = Settings(augment=augment)
    if augment:
        chosen = dataclasses.replace(chosen, level_db=(-32.0, -17.0))
    if tiny:
        chosen = dataclasses.replace(chosen, size=(0.15, 0.25))
    if louder:
        chosen = dataclasses.replace(chosen, snr_db=(-10.0, 0.0))
    return chosen


@dataclass(frozen=True)
class Look:
    """How a picture is used: the part cut from it, mirrored or not, gain of R, G, B and contrast (1 is unchanged)."""

    crop: Box = (0.0, 0.0, 1.0, 1.0)
    flip: bool = False
    gains: tuple[float, float, float] = (1.0, 1.0, 1.0)
    contrast: float = 1.0


@dataclass(frozen=True)
class Background:
    """A picture behind all; the view wanders linearly from `start` to `end`.

    A view is (y, x, zoom): the largest part of the frame's shape, divided by zoom, at y, x of the room left over.
    """

    file: str
    start: tuple[float, float, float]
    end: tuple[float, float, float]
    look: Look


@dataclass(frozen=True)
class Piece:
    """A photograph that crosses the frame on a quadratic Bezier path of its middle, growing or shrinking linearly.

    `size` is the longer side at start and end as a fraction of the frame's short side; `aspect` is width / height.
    """

    file: str
    label: str
    interval: tuple[float, float]
    path: tuple[Point, Point, Point]
    size: tuple[float, float]
    aspect: float
    look: Look


@dataclass(frozen=True)
class Sound:
    """An excerpt of a recording: from `offset` (0..1 of it), at `speed`, `gain_db` beside the scene's level."""

    file: str
    label: str
    interval: tuple[float, float]
    offset: float
    speed: float
    gain_db: float


@dataclass(frozen=True)
class Scene:
    """A whole plan. The piece and the sound that carry the scene's label are what it stands for, others are decoys.

    `level_db` is the loud-part RMS of sounds in dB full scale, `snr_db` how much lower the noise lies.
    """

    seed: int
    kind: Kind
    label: str
    frames: int
    fps: int
    shape: tuple[int, int]  # height, width
    interval: tuple[float, float]
    background: Background
    pieces: tuple[Piece, ...]
    sounds: tuple[Sound, ...]
    noise: str
    noise_offset: float
    snr_db: float
    level_db: float

    @property
    def duration(self) -> float:
        """Seconds."""
        return self.frames / self.fps

    def salient(self, time: float) -> bool:
        """Whether `time` lies in the label's interval."""
        return inside(self.interval, time)

    def box(self, time: float) -> Box | None:
        """Box (y0, x0, y1, x1) of the label's object at `time`, or None where there is none."""
        for piece in self.pieces:
            if piece.label == self.label and inside(piece.interval, time):
                return piece_box(piece, time, self.shape)
        return None


def inside(interval: tuple[float, float], time: float) -> bool:
    """Whether the half-open interval holds `time`."""
    return interval[0] <= time < interval[1]


def piece_box(piece: Piece, time: float, shape: tuple[int, int]) -> Box:
    """Box of a piece at `time` (within its interval) in a frame of `shape` (height, width)."""
    u = (time - piece.interval[0]) / (piece.interval[1] - piece.interval[0])
    height, width = _extent(piece.size[0] + (piece.size[1] - piece.size[0]) * u, piece.aspect, shape)
    weights = ((1 - u) ** 2, 2 * u * (1 - u), u**2)
    y, x = (sum(w * point[axis] for w, point in zip(weights, piece.path, strict=True)) for axis in (0, 1))
    return y - height / 2, x - width / 2, y + height / 2, x + width / 2


def plan(
    material: Material, seed: int, settings: Settings, kind: Kind | None = None, label: str | None = None
) -> Scene:
    """Draw a scene. Kind and label are drawn too where not given. Same arguments, same scene.

    `both`: the label's object and sound share the interval; an object and a sound of two other classes come at other
    times (where these meet, they do not belong together). `seen`: the object alone; `heard`: the sound alone, the
    object is off screen.
    """
    rng = np.random.default_rng(seed)
    kind = kind or KINDS[int(rng.integers(len(KINDS)))]
    label = label or pick(rng, material.classes)
    seen_decoy, heard_decoy = rng.choice([name for name in material.classes if name != label], 2, replace=False)
    frames = round(rng.uniform(*settings.duration) * settings.fps)
    interval, *others = _intervals(rng, frames / settings.fps, settings)
    seen = {"both": [(label, interval), (str(seen_decoy), others[0])], "seen": [(label, interval)], "heard": []}
    heard = {"both": [(label, interval), (str(heard_decoy), others[1])], "seen": [], "heard": [(label, interval)]}
    return Scene(
        seed=seed,
        kind=kind,
        label=label,
        frames=frames,
        fps=settings.fps,
        shape=(settings.height, settings.width),
        interval=interval,
        background=_background(rng, material, settings),
        pieces=tuple(_piece(rng, material, settings, name, when) for name, when in seen[kind]),
        sounds=tuple(_sound(rng, material, settings, name, when) for name, when in heard[kind]),
        noise=pick(rng, material.noise),
        noise_offset=float(rng.random()),
        snr_db=float(rng.uniform(*settings.snr_db)),
        level_db=float(rng.uniform(*settings.level_db)),
    )


def schedule(classes: tuple[str, ...], index: int, seed: int) -> tuple[int, Kind, str]:
    """Seed, kind and label of clip `index` of a set: kinds take turns, each deals all classes before any comes again.

    Raises UsageError for a negative seed or index.
    """
    if seed < 0 or index < 0:
        raise UsageError(f"seed {seed}, clip {index}: must not be negative.")
    kind = index % len(KINDS)
    deal, card = divmod(index // len(KINDS), len(classes))
    order = np.random.default_rng([seed, 0, deal, kind]).permutation(len(classes))
    clip_seed = int(np.random.SeedSequence([seed, 1, index]).generate_state(1)[0])
    return clip_seed, KINDS[kind], classes[order[card]]


def _intervals(rng: np.random.Generator, duration: float, settings: Settings) -> list[tuple[float, float]]:
    """The label's interval and two others apart from it; the label's comes first, amid the others, or last."""
    starts, ends = (_amid if rng.random() < 1 / 3 else _at_one_side)(rng, duration, settings)
    return [(round(float(start), 3), round(float(end), 3)) for start, end in zip(starts, ends, strict=True)]


def _amid(rng: np.random.Generator, duration: float, settings: Settings) -> np.ndarray:
    """Starts and ends [2,3] of three in a row, the label's (the first column) in the middle.

    There is little room: what the shortest lengths and gaps leave is shared out, to the lengths twice as much.
    """
    shortest, longest = settings.interval
    spare = rng.dirichlet((2, 2, 2, 1, 1, 1, 1)) * (duration - 3 * shortest - 2 * settings.gap)
    lengths = np.minimum(shortest + spare[:3], longest)
    starts = np.cumsum(spare[3:6]) + np.cumsum([0.0, *lengths[:2]]) + settings.gap * np.arange(3)
    order = [1, 0, 2] if rng.random() < 0.5 else [1, 2, 0]
    return np.stack([starts, starts + lengths])[:, order]


def _at_one_side(rng: np.random.Generator, duration: float, settings: Settings) -> np.ndarray:
    """Starts and ends [2,3], lengths all alike, drawn until the others (which may overlap) fit beside the label's."""
    while True:
        lengths = rng.uniform(*settings.interval, size=3)
        starts = rng.uniform(0.0, duration - lengths)
        ends = starts + lengths
        before = ends[1:] + settings.gap <= starts[0]
        after = ends[0] + settings.gap <= starts[1:]
        if (before | after).all():
            return np.stack([starts, ends])


def _background(rng: np.random.Generator, material: Material, settings: Settings) -> Background:
    views = rng.uniform((0.0, 0.0, 1.0), (1.0, 1.0, 1.6), size=(2, 3))
    start, end = ((float(y), float(x), float(zoom)) for y, x, zoom in views)
    return Background(pick(rng, material.backgrounds), start, end, _look(rng, settings, trim=0.0))


def _piece(
    rng: np.random.Generator, material: Material, settings: Settings, label: str, interval: tuple[float, float]
) -> Piece:
    file, look = pick(rng, material.images[label]), _look(rng, settings, trim=0.2)
    width, height = material.picture(file).size
    look = dataclasses.replace(look, crop=_not_long(look.crop, width, height))
    aspect = (look.crop[3] - look.crop[1]) * width / ((look.crop[2] - look.crop[0]) * height)
    size = tuple(float(value) for value in rng.uniform(*settings.size, size=2))
    extent = np.array(_extent(max(size), aspect, (settings.height, settings.width)))
    # The curve stays inside the hull of its points, so with these inside, the whole piece always is.
    first = rng.uniform(extent / 2, 1 - extent / 2)
    steps = rng.uniform(-0.35, 0.35, size=(2, 2))
    points = np.clip(first + np.vstack([np.zeros(2), steps]), extent / 2, 1 - extent / 2)
    path = tuple((float(y), float(x)) for y, x in points)
    return Piece(file, label, interval, path, size, aspect, look)  # type: ignore[arg-type]  # tuples of fixed length


def _sound(
    rng: np.random.Generator, material: Material, settings: Settings, label: str, interval: tuple[float, float]
) -> Sound:
    file, offset = pick(rng, material.sounds[label]), float(rng.random())
    speed, gain = float(rng.uniform(0.93, 1.07)), float(rng.uniform(-3.0, 3.0))
    return Sound(file, label, interval, offset, *((speed, gain) if settings.augment else (1.0, 0.0)))


def _look(rng: np.random.Generator, settings: Settings, trim: float) -> Look:
    """A random look when training (up to `trim` of each dimension cut away), the plain one otherwise."""
    if not settings.augment:
        return Look()
    y0, x0, y1, x1 = rng.uniform(0.0, trim, size=4) * np.array([0.5, 0.5, -0.5, -0.5]) + np.array([0, 0, 1, 1])
    red, green, blue = rng.uniform(0.75, 1.25) * rng.uniform(0.9, 1.1, size=3)
    return Look(
        crop=(float(y0), float(x0), float(y1), float(x1)),
        flip=bool(rng.random() < 0.5),
        gains=(float(red), float(green), float(blue)),
        contrast=float(rng.uniform(0.75, 1.25)),
    )


def _not_long(crop: Box, width: int, height: int) -> Box:
    """The middle of `crop` with its longer side at most twice the shorter."""
    y0, x0, y1, x1 = crop
    tall, wide = (y1 - y0) * height, (x1 - x0) * width
    dy, dx = max(tall - 2 * wide, 0) / 2 / height, max(wide - 2 * tall, 0) / 2 / width
    return y0 + dy, x0 + dx, y1 - dy, x1 - dx


def _extent(size: float, aspect: float, shape: tuple[int, int]) -> Point:
    """Height and width, as fractions of the frame, of a piece whose longer side is `size` of the short side."""
    longer = size * min(shape)
    return longer * min(1.0, 1 / aspect) / shape[0], longer * min(1.0, aspect) / shape[1]
