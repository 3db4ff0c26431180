"""How a model is trained: one frozen dataclass, the `[training]` table of a preset."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from importlib.resources import files
from pathlib import Path
from typing import Literal

from avgn.config import load_config, presets
from avgn.schema import build
from avgn.training.losses import LossWeights

# Parts of the network that may have a learning rate of their own; whatever is not named here is `rest`.
PARTS = ("frame_encoder", "sound_encoder", "focus_encoder", "patch_net", "fusion", "rest")


@dataclass(frozen=True)
class Recipe:
    """Everything that decides a training run, besides the model, the data and the machine.

    `rates` multiplies `rate` part by part. `warm_up` steps teach the three encoders single pictures and sounds before
    whole clips are seen (but `warm_up_frozen` ones); `frozen` parts then keep what they have, which saves most of the
    work. Steps are optimiser
    steps. `deaf_patches` keeps the sound from AESPA and π, in training and after. With `frozen_norms` batch norms keep
    the statistics they came with: batches of few clips would blur them.
    """

    steps: int = 2000
    batch: int = 16
    warm_up: int = 0
    warm_up_batch: int = 64
    warm_up_frozen: tuple[str, ...] = ()
    optimiser: Literal["adamw", "sgd"] = "adamw"
    rate: float = 1e-3
    rates: dict[str, float] = field(default_factory=dict)
    frozen: tuple[str, ...] = ()
    weight_decay: float = 0.02
    ramp: int = 200
    clip_norm: float = 5.0
    ema: float = 0.99
    modality_dropout: float = 0.15
    deaf_patches: bool = False
    frozen_norms: bool = True
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed"] = "auto"
    losses: LossWeights = field(default_factory=LossWeights)
    seed: int = 0
    save_every: int = 200

    def __post_init__(self) -> None:
        unknown = sorted((set(self.rates) | set(self.frozen) | set(self.warm_up_frozen)) - set(PARTS))
        if unknown:
            raise ValueError(f"unknown part {unknown[0]!r}; parts are {', '.join(PARTS)}")
        if any(rate <= 0 for rate in self.rates.values()):
            raise ValueError("rates must be above 0; name a part under `frozen` to leave it as it is")
        if min(self.steps, self.batch, self.warm_up_batch, self.ramp, self.save_every) < 1 or self.warm_up < 0:
            raise ValueError("steps, batch, warm_up_batch, ramp and save_every must be at least 1, warm_up at least 0")
        if not 0 <= self.ema < 1 or not 0 <= self.modality_dropout <= 0.5:
            raise ValueError("ema must lie in 0..1, modality_dropout in 0..0.5")


def load_recipe(preset: str) -> Recipe:
    """The `[training]` table of a preset (by name or TOML path); errors as in `avgn.config.load_config`."""
    load_config(preset)  # says what is wrong with an unknown preset or a bad file
    source = files("avgn") / "presets" / f"{preset}.toml" if preset in presets() else Path(preset)
    data = tomllib.loads(source.read_text(encoding="utf-8"))
    return build(Recipe, data.get("training", {}), f"preset {preset}: training")
