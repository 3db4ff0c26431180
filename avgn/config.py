"""What a model is: one frozen tree that training, export and every device read alike.

Names follow `docs/design.md`: T snippets in a window, k chosen, G the glance's picture side, P the patch side,
M mel bands, F mel frames, S sound samples, d token width, C classes. Presets are TOML files in `avgn/presets/`.
The paper gives neither widths nor depths nor T, k, P: every number here is a choice of ours.
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Literal

from avgn.errors import InputError, UsageError
from avgn.schema import build

FrameEncoder = Literal["mobilenet_v2"]
SoundEncoder = Literal["mobilenet_v2", "mn04"]
FocusEncoder = Literal["resnet50", "efficientnet_lite0", "efficientnet_lite2"]
Pixels = Literal["symmetric", "imagenet", "lite"]
SelectionTraining = Literal["expectation", "pseudo_label", "gumbel"]


@dataclass(frozen=True)
class FrameConfig:
    """The picture side of the glance: the whole frame, squashed to G x G."""

    encoder: FrameEncoder = "mobilenet_v2"
    size: int = 224
    pixels: Pixels = "symmetric"


@dataclass(frozen=True)
class SoundConfig:
    """The sound of a snippet and its log-mel picture (defaults: the front end of EfficientAT's mn04).

    The STFT is never padded: F frames need S = (F - 1) * hop + window + 1 samples (one more for the pre-emphasis), so
    that a mel computed on the fly from a long stream is the very same as one computed from a snippet alone.
    """

    encoder: SoundEncoder = "mn04"
    rate: int = 32_000
    window: int = 800
    hop: int = 320
    fft: int = 1024
    mels: int = 128
    low_hz: float = 0.0
    high_hz: float = 15_000.0
    frames: int = 128
    preemphasis: float = 0.97
    floor: float = 1e-5
    offset: float = 4.5
    scale: float = 5.0

    @property
    def samples(self) -> int:
        """S: waveform samples of one snippet."""
        return (self.frames - 1) * self.hop + self.window + 1

    @property
    def seconds(self) -> float:
        """Length of one snippet's sound in seconds."""
        return self.samples / self.rate


@dataclass(frozen=True)
class SaliencyConfig:
    """AV-TeST: a transformer over T visual and T audio tokens, and how its top-k is trained."""

    width: int = 256
    layers: int = 2
    heads: int = 4
    training: SelectionTraining = "expectation"


@dataclass(frozen=True)
class PatchConfig:
    """AESPA, π and the crop: one P x P patch, cut from the frame scaled to `short_side` pixels on its short side."""

    size: int = 128
    short_side: int = 288
    heads: int = 4
    width: int = 128


@dataclass(frozen=True)
class FocusConfig:
    """The heavy net that sees patches only."""

    encoder: FocusEncoder = "resnet50"
    pixels: Pixels = "imagenet"


@dataclass(frozen=True)
class FusionConfig:
    """ψ, the transformer that fuses what was chosen, before the classifier fC. No layers: a plain average."""

    layers: int = 1
    heads: int = 4
    dropout: float = 0.2


@dataclass(frozen=True)
class Config:
    """A whole AVGN. Raises ValueError (InputError through `load_config`) for numbers that do not fit together."""

    snippets: int = 16
    chosen: int = 4
    classes: int = 12
    frame: FrameConfig = field(default_factory=FrameConfig)
    sound: SoundConfig = field(default_factory=SoundConfig)
    saliency: SaliencyConfig = field(default_factory=SaliencyConfig)
    patch: PatchConfig = field(default_factory=PatchConfig)
    focus: FocusConfig = field(default_factory=FocusConfig)
    fusion: FusionConfig = field(default_factory=FusionConfig)

    def __post_init__(self) -> None:
        checks = (
            (1 <= self.chosen <= self.snippets <= 512, "chosen (k) must lie in 1..snippets (T), and T in 1..512"),
            (1 <= self.classes <= 100_000, "classes must lie in 1..100000"),
            (
                32 <= self.frame.size <= 1024 and self.frame.size % 32 == 0,
                "frame.size must be a multiple of 32 up to 1024",
            ),
            (
                32 <= self.patch.size <= self.patch.short_side <= 4096,
                "patch.size must lie in 32..patch.short_side, at most 4096",
            ),
            (0 < self.sound.window <= self.sound.fft <= 65536, "sound.window must lie in 1..sound.fft, at most 65536"),
            (0 < self.sound.hop <= self.sound.window, "sound.hop must lie in 1..sound.window"),
            (
                32 <= self.sound.frames <= 4096 and 1 <= self.sound.mels <= 1024,
                "sound.frames or sound.mels out of range",
            ),
            (8_000 <= self.sound.rate <= 192_000, "sound.rate must lie in 8000..192000"),
            (self.sound.floor > 0 and self.sound.scale != 0, "sound.floor must be above 0, and sound.scale not 0"),
            (0 <= self.sound.low_hz < self.sound.high_hz <= self.sound.rate / 2, "sound bands must lie below rate / 2"),
            (_divides(self.saliency.heads, self.saliency.width), "saliency.width must be a multiple of saliency.heads"),
            (_divides(self.fusion.heads, self.saliency.width), "saliency.width must be a multiple of fusion.heads"),
            (_divides(self.patch.heads, self.patch.width), "patch.width must be a multiple of patch.heads"),
            (0 <= self.saliency.layers <= 64 and 0 <= self.fusion.layers <= 64, "layers must lie in 0..64"),
            (0 <= self.fusion.dropout < 1, "fusion.dropout must lie in 0..1"),
        )
        for holds, sentence in checks:
            if not holds:
                raise ValueError(sentence)


def _divides(heads: int, width: int) -> bool:
    return 1 <= heads <= width <= 8192 and width % heads == 0


def presets() -> list[str]:
    """Names of the presets that ship with the package."""
    folder = files("avgn") / "presets"
    return sorted(entry.name.removesuffix(".toml") for entry in folder.iterdir() if entry.name.endswith(".toml"))


def load_config(preset: str) -> Config:
    """Read a preset by name (`edge`, `paper`) or a TOML file by path.

    Raises UsageError for an unknown name and InputError for a file that is not a valid configuration.
    """
    shipped = preset in presets()
    source = files("avgn") / "presets" / f"{preset}.toml" if shipped else Path(preset)
    if not source.is_file():
        raise UsageError(f"preset {preset!r} is unknown: choose one of {', '.join(presets())}, or name a TOML file.")
    try:
        data = tomllib.loads(source.read_text(encoding="utf-8"))
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise InputError(f"preset {preset}: not a TOML file ({fault}).") from fault
    return build(Config, data.get("model", {}), f"preset {preset}: model")
