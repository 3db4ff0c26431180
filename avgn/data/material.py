"""The material of Scenes: photographs and recordings of the same classes, backgrounds and noise, split by source file.

    MATERIAL/images/CLASS/*  sounds/CLASS/*  backgrounds/*  noise/*     (sub-folders of the last two are read too)

Files are split before anything is composed from them, so that one photograph or recording serves one split only.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import av
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageOps

from avgn.errors import InputError, UsageError

Part = Literal["train", "val", "test"]
SPLITS: dict[str, tuple[Part, ...]] = {
    "train": ("train",),
    "val": ("val",),
    "test": ("test",),
    "train+val": ("train", "val"),
    "all": ("train", "val", "test"),
}
PICTURES = {".jpg", ".jpeg", ".png", ".webp", ".bmp"}
SOUNDS = {".ogg", ".wav", ".flac", ".mp3", ".m4a", ".opus"}

_FOLDS: dict[int, Part] = {1: "train", 2: "train", 3: "val", 4: "test", 5: "test"}
_ESC_NAME = re.compile(r"^([1-5])-(\d+)-")  # fold - original recording - take: the naming of ESC-10 and ESC-50
_HELD_BACK = 0.15  # share of the files without folds that goes to val, and to test
_LONGEST_SIDE = {"images": 320, "backgrounds": 640}  # pixels; more is never shown
_LONGEST_SOUND = 30.0  # seconds
_LONGEST_SILENCE = 1.0  # seconds
_FRAME = 0.01  # seconds: grain of all level measurements


def split_of(names: Iterable[str]) -> dict[str, Part]:
    """Part of every name (path without suffix) of one collection.

    Names as in ESC-10 go by fold (1, 2 train; 3 val; 4, 5 test); all takes of one original recording go with its
    lowest fold. Other names are ordered by a hash and cut 15 % test, 15 % val, the rest train.
    """
    unique = sorted(set(names))
    matches = {name: _ESC_NAME.match(name.rsplit("/", 1)[-1]) for name in unique}
    folds: dict[str, int] = {}
    for match in filter(None, matches.values()):
        folds[match[2]] = min(folds.get(match[2], 9), int(match[1]))
    parts: dict[str, Part] = {name: _FOLDS[folds[match[2]]] for name, match in matches.items() if match}
    rest = sorted((name for name in unique if name not in parts), key=lambda name: _hash(name.rsplit("/", 1)[-1]))
    held = max(round(_HELD_BACK * len(rest)), 1) if len(rest) >= 3 else 0
    for place, name in enumerate(rest):
        parts[name] = "test" if place < held else "val" if place < 2 * held else "train"
    return parts


@dataclass
class Material:
    """The source files of one split (paths relative to `folder`), each decoded once, when first asked for.

    Pictures are RGB, at most 320 (objects) or 640 (backgrounds) pixels on the long side. Waveforms are float32 mono at
    `rate`, at most 30 s, scaled to an RMS of 1 over their loud part.
    """

    folder: Path
    split: str
    rate: int
    classes: tuple[str, ...]
    images: dict[str, tuple[str, ...]]
    sounds: dict[str, tuple[str, ...]]
    backgrounds: tuple[str, ...]
    noise: tuple[str, ...]
    _pictures: dict[str, Image.Image] = field(default_factory=dict, repr=False)
    _waves: dict[str, NDArray[np.float32]] = field(default_factory=dict, repr=False)

    def picture(self, name: str) -> Image.Image:
        """The picture, upright. Raises InputError for a file that is not one."""
        if name not in self._pictures:
            self._pictures[name] = _read_picture(self.folder / name, _LONGEST_SIDE[name.split("/", 1)[0]])
        return self._pictures[name]

    def wave(self, name: str) -> NDArray[np.float32]:
        """The waveform [n]. Of sounds of a class, silences are cut to 1 s, so that an excerpt can be heard at all.

        Raises InputError for a file without sound.
        """
        if name not in self._waves:
            wave = _read_wave(self.folder / name, self.rate)
            self._waves[name] = _faded(_condensed(wave, self.rate) if name.startswith("sounds/") else wave, self.rate)
        return self._waves[name]

    def preload(self) -> None:
        """Decode everything now: before training, so that worker processes share the memory."""
        for names in (*self.images.values(), self.backgrounds):
            for name in names:
                self.picture(name)
        for names in (*self.sounds.values(), self.noise):
            for name in names:
                self.wave(name)


def load_material(folder: str | Path, split: str = "all", rate: int = 32_000) -> Material:
    """List a material folder; classes are the names found under both images/ and sounds/, sorted.

    Raises UsageError for an unknown split, InputError where a folder is missing or a class has no file in this split.
    """
    if split not in SPLITS:
        raise UsageError(f"split {split!r} is unknown: choose one of {', '.join(SPLITS)}.")
    root = Path(folder)
    for name in ("images", "sounds", "backgrounds", "noise"):
        if not (root / name).is_dir():
            raise InputError(f"{root}: there is no folder {name!r}; material needs images, sounds, backgrounds, noise.")
    classes = tuple(sorted(_folders(root / "images") & _folders(root / "sounds")))
    if len(classes) < 3:
        raise InputError(
            f"{root}: {len(classes)} classes have a folder under both images and sounds; scenes need at least 3."
        )
    return Material(
        folder=root,
        split=split,
        rate=rate,
        classes=classes,
        images={name: _chosen(root, f"images/{name}", PICTURES, split) for name in classes},
        sounds={name: _chosen(root, f"sounds/{name}", SOUNDS, split) for name in classes},
        backgrounds=_chosen(root, "backgrounds", PICTURES, split),
        noise=_chosen(root, "noise", SOUNDS, split),
    )


def _folders(root: Path) -> set[str]:
    return {entry.name for entry in root.iterdir() if entry.is_dir() and not entry.name.startswith(".")}


def _chosen(root: Path, collection: str, suffixes: set[str], split: str) -> tuple[str, ...]:
    """Files of the collection that belong to the split, sorted; two suffixes of one name stay together."""
    found = (root / collection).rglob("*")
    paths = [
        path.relative_to(root)
        for path in found
        if path.suffix.lower() in suffixes and not path.name.startswith(".") and path.is_file()
    ]
    if not paths:
        raise InputError(f"{root / collection}: there is no file of type {', '.join(sorted(suffixes))} in it.")
    parts = split_of(path.with_suffix("").as_posix() for path in paths)
    names = [path.as_posix() for path in paths if parts[path.with_suffix("").as_posix()] in SPLITS[split]]
    if not names:
        raise InputError(
            f"{root / collection}: none of its {len(paths)} files falls into split {split!r}; add files or use 'all'."
        )
    return tuple(sorted(names))


def _hash(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def _read_picture(path: Path, longest: int) -> Image.Image:
    try:
        with Image.open(path) as file:
            file.draft("RGB", (longest, longest))  # JPEG only: decode large ones small
            picture = ImageOps.exif_transpose(file)
            if "A" in picture.getbands() or "transparency" in picture.info:
                picture = picture.convert("RGBA")
                picture = Image.alpha_composite(Image.new("RGBA", picture.size, "white"), picture)
            picture = picture.convert("RGB")
            picture.thumbnail((longest, longest), Image.Resampling.BICUBIC)
            return picture
    except (OSError, ValueError, SyntaxError, Image.DecompressionBombError) as fault:
        raise InputError(f"{path}: cannot be read as a picture ({fault}); replace or remove the file.") from fault


def _read_wave(path: Path, rate: int) -> NDArray[np.float32]:
    """Decode to mono float32 [n] at `rate` with the loud part at an RMS of 1."""
    chunks: list[NDArray[np.float32]] = []
    try:
        with av.open(str(path)) as container:
            resampler = av.AudioResampler("flt", "mono", rate)
            for frame in container.decode(audio=0):
                chunks += [part.to_ndarray()[0] for part in resampler.resample(frame)]
                if sum(map(len, chunks)) > _LONGEST_SOUND * rate:
                    break
            chunks += [part.to_ndarray()[0] for part in resampler.resample(None)]
    except (av.error.FFmpegError, OSError, ValueError, IndexError) as fault:
        raise InputError(f"{path}: cannot be read as sound ({fault}); replace or remove the file.") from fault
    wave = np.concatenate(chunks or [np.zeros(0, np.float32)])[: int(_LONGEST_SOUND * rate)]
    if len(wave) < rate // 10 or not np.isfinite(wave).all() or np.abs(wave).max() < 1e-4:
        raise InputError(f"{path}: is silent or shorter than 0.1 s; replace or remove the file.")
    return (wave / loud_rms(wave, rate)).astype(np.float32)


def _levels(wave: NDArray[np.float32], rate: int) -> NDArray[np.float64]:
    """RMS of each 10 ms."""
    grain = int(_FRAME * rate)
    frames = wave[: len(wave) // grain * grain].reshape(-1, grain).astype(np.float64)
    return np.sqrt((frames**2).mean(axis=1))


def loud_rms(wave: NDArray[np.float32], rate: int) -> float:
    """RMS over the 10 ms frames less than 20 dB below the loudest: a bark counts as loud however long the pause."""
    levels = _levels(wave, rate)
    return float(np.sqrt((levels[levels >= 0.1 * levels.max()] ** 2).mean()))


def _condensed(wave: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Cut silences (40 dB below the loudest) to `_LONGEST_SILENCE`, at the ends to half of it."""
    levels = _levels(wave, rate)
    loud = np.flatnonzero(levels >= 0.01 * levels.max())
    reach = int(_LONGEST_SILENCE / _FRAME / 2)
    steps = np.zeros(len(levels) + 1, np.int64)
    np.add.at(steps, np.maximum(loud - reach, 0), 1)
    np.add.at(steps, np.minimum(loud + reach + 1, len(levels)), -1)
    keep = np.repeat(np.cumsum(steps[:-1]) > 0, int(_FRAME * rate))
    return wave[: len(keep)][keep]


def _faded(wave: NDArray[np.float32], rate: int) -> NDArray[np.float32]:
    """Fade both ends over 10 ms: excerpts run over the end into the beginning."""
    ramp = np.linspace(0.0, 1.0, int(_FRAME * rate), dtype=np.float32)
    faded = wave.copy()
    faded[: len(ramp)] *= ramp
    faded[len(wave) - len(ramp) :] *= ramp[::-1]
    return faded


def pick(rng: np.random.Generator, items: Sequence[str]) -> str:
    """One of the items, all alike."""
    return items[int(rng.integers(len(items)))]
