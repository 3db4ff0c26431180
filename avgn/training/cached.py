"""Training on a fixed number of clips whose frozen encoders' maps are kept on disk: a seed in minutes, on a CPU.

Composing a clip and encoding its frames and sounds is most of a training step's work, and with frozen encoders it comes
to the same every time. So a number of clips is composed and encoded once (memory-mapped arrays in a folder), and then
`fed` puts stand-ins in the encoders' places: branches, losses and loop see a clip as ever, with maps where frames and
log-mels would be. Patches are cut and encoded anew, as where to cut them is what is being learnt.
Clips that come again and again are learnt by heart: compare such runs with each other only.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.lib.format import open_memmap
from numpy.typing import NDArray
from torch import Tensor, nn

from avgn.data.samples import ClipSource, Sample, unit_range
from avgn.errors import InputError
from avgn.files import parse_json, write_file
from avgn.network import encoders
from avgn.network.avgn import AVGN, encode
from avgn.network.dense import Dense

STATE = "cache.json"
_SAVE_EVERY = 10  # clips


class Given(encoders.Encoder):
    """Stands where a frozen encoder was, and is given its maps."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.channels = channels

    def forward(self, image: Tensor) -> Tensor:
        """[N,channels,h,w] -> the same."""
        return image


def frozen_for_cache(model: AVGN | Dense) -> tuple[str, str]:
    """The two parts of a network that must be frozen for its clips to be cached."""
    return f"{model.frames_go_to}_encoder", "sound_encoder"


@contextmanager
def fed(model: AVGN | Dense) -> Iterator[Callable[[nn.Module], nn.Module]]:
    """Inside, `model` takes maps for frames and log-mels; gives a function that puts the encoders into a copy of it."""
    names = (f"{model.frames_go_to}_pixels", *frozen_for_cache(model))
    real = {name: getattr(model, name) for name in names}

    def restore(other: nn.Module) -> nn.Module:
        for name, part in real.items():
            setattr(other, name, part)
        return other

    for name, part in real.items():
        setattr(model, name, Given(part.channels) if isinstance(part, encoders.Encoder) else nn.Identity())
    try:
        yield restore
    finally:
        restore(model)


@dataclass(frozen=True, eq=False)
class CachedClips:
    """`count` clips in the arrays of a cache; `sample` goes through them epoch by epoch, each in another order."""

    arrays: Mapping[str, NDArray[Any]]
    count: int
    seed: int

    def sample(self, index: int) -> Sample:
        """Clip `index` >= 0 with maps in `frames` and `mel`; the same index gives the same clip."""
        epoch, place = divmod(index, self.count)
        return self.clip(int(np.random.default_rng([self.seed, epoch]).permutation(self.count)[place]))

    def clip(self, number: int) -> Sample:
        """Clip `number` of the cache."""
        values: dict[str, Any] = {name: np.array(array[number]) for name, array in self.arrays.items()}
        return Sample(**(values | {"label": int(values["label"])}))


def cached_clips(
    folder: Path, model: AVGN | Dense, source: ClipSource, count: int, seed: int, tick: Callable[[int], None]
) -> CachedClips:
    """The clips 0..count-1 of `source` as `model`'s frozen encoders see them, from `folder` or made now.

    Goes on where it was interrupted; `tick` is called with how many there are. Raises InputError for the cache of other
    encoders, clips or numbers.
    """
    first = source.sample(0)
    identity = _identity(model, first, count)
    done = _done(folder, identity)
    shapes = {name: np.asarray(value) for name, value in vars(_encoded(model, first)).items()}
    arrays = {name: _array(folder / f"{name}.npy", value, count, done > 0) for name, value in shapes.items()}
    for number in range(done, count):
        for name, value in vars(_encoded(model, source.sample(number))).items():
            arrays[name][number] = value
        if (number + 1) % _SAVE_EVERY == 0 or number + 1 == count:
            for array in arrays.values():
                array.flush()
            write_file(folder / STATE, json.dumps({"identity": identity, "clips": number + 1}))
        tick(number + 1)
    return CachedClips(arrays, count, seed)


@torch.inference_mode()
def _encoded(model: AVGN | Dense, sample: Sample) -> Sample:
    """`sample` with the encoders' maps for frames and log-mels; the dense net needs no more than their means."""
    part = model.frames_go_to
    encoder, pixels = getattr(model, f"{part}_encoder").eval(), getattr(model, f"{part}_pixels")
    device = next(model.parameters()).device
    frames = encode(encoder, pixels(unit_range(torch.from_numpy(sample.frames).to(device))))
    sounds = encode(model.sound_encoder.eval(), torch.from_numpy(sample.mel).to(device))
    pictures = sample.pictures
    if isinstance(model, Dense):
        frames, sounds = (encoders.pool(value)[..., None, None] for value in (frames, sounds))
        pictures = pictures[..., :1, :1]
    return replace(sample, frames=_half(frames), mel=_half(sounds), pictures=pictures)


def _half(values: Tensor) -> NDArray[Any]:
    return values.cpu().contiguous().numpy().astype(np.float16)


def _array(path: Path, like: NDArray[Any], count: int, there: bool) -> np.memmap[Any, Any]:
    """The memory map of one array of all clips, `like` being one clip's."""
    path.parent.mkdir(parents=True, exist_ok=True)
    shape = (count, *like.shape)
    try:
        array = open_memmap(path, "r+") if there else open_memmap(path, "w+", like.dtype, shape)
    except (OSError, ValueError) as fault:
        raise InputError(f"{path}: not a usable cache ({fault}); delete its folder, or free some space.") from fault
    if array.shape != shape or array.dtype != like.dtype:
        raise InputError(f"{path}: holds other arrays than this training needs; delete its folder.")
    return array


def _done(folder: Path, identity: str) -> int:
    """How many clips the cache holds."""
    path = folder / STATE
    if not path.is_file():
        return 0
    state = parse_json(path.read_bytes(), str(path))
    if not isinstance(state, dict) or state.get("identity") != identity:
        raise InputError(f"{folder}: is the cache of other encoders, clips or numbers; delete it, or name another one.")
    return int(state["clips"])


def _identity(model: AVGN | Dense, first: Sample, count: int) -> str:
    """What a cache depends on: the encoders, how many clips, and the first (by material, split, seed, sizes, T)."""
    digest = hashlib.sha256(f"{type(model).__name__} {count}".encode())
    for part in frozen_for_cache(model):
        for name, value in getattr(model, part).state_dict().items():
            digest.update(name.encode() + value.detach().cpu().contiguous().numpy().tobytes())
    for field in fields(first):
        digest.update(np.ascontiguousarray(getattr(first, field.name)).tobytes())
    return digest.hexdigest()
