"""Ablations that need retraining: a run's frozen encoders, and everything above them trained anew in another way.

Each is a change of recipe or configuration, no code of its own. All are trained on the same fixed clips
(`avgn.training.cached`), so compare them with each other (`true` is the recipe of the shipped model on these clips),
not with a run that saw ever new clips.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from avgn.config import Config, FocusConfig
from avgn.data.source import SceneSource, open_source
from avgn.errors import UsageError
from avgn.network.checkpoint import Network, read_run
from avgn.network.dense import dense_config
from avgn.training.losses import LossWeights
from avgn.training.recipe import Recipe
from avgn.training.train import Job, train

ENCODERS = ("frame_encoder", "sound_encoder", "focus_encoder")
_TRUE = LossWeights(true_saliency=1.0, true_place=0.5)


@dataclass(frozen=True)
class Variation:
    """What is trained differently: `recipe` and `saliency` (of the configuration) are changed fields."""

    says: str
    recipe: Mapping[str, Any] = field(default_factory=dict)
    saliency: Mapping[str, Any] = field(default_factory=dict)
    focus: FocusConfig | None = None  # another focus encoder, from published weights
    network: Network = "avgn"


# another encoder has to learn patches first; 64 a step
_NEW_FOCUS = {"warm_up": 60, "warm_up_frozen": ("frame_encoder", "sound_encoder"), "rates": {"focus_encoder": 0.3}}
_WEAK = {"losses": LossWeights()}
VARIATIONS = {
    "true": Variation("The saliency learns the true intervals, π the true boxes."),
    "true-weak-place": Variation(
        "The saliency learns the true intervals, π from labels only.", {"losses": LossWeights(true_saliency=1.0)}
    ),
    "true-deaf-patches": Variation("As `true`, with AESPA and π never hearing.", {"deaf_patches": True}),
    "weak": Variation("All from labels only; the choice by Monte-Carlo expectation.", _WEAK),
    "weak-pseudo-label": Variation("Labels only; the choice by pseudo-labels.", _WEAK, {"training": "pseudo_label"}),
    "weak-gumbel": Variation("Labels only; the choice by straight-through Gumbel.", _WEAK, {"training": "gumbel"}),
    "focus-lite0": Variation(
        "As `true`, EfficientNet-Lite0 as published and 60 steps of 64 patches as its warm-up: beside the next one.",
        _NEW_FOCUS,
        focus=FocusConfig("efficientnet_lite0", "lite"),
    ),
    "focus-lite2": Variation(
        "The same with EfficientNet-Lite2 in its place.", _NEW_FOCUS, focus=FocusConfig("efficientnet_lite2", "lite")
    ),
    "dense": Variation(
        "The dense yardstick, trained alike; its frames' encoder is the method's, trained on patches, which is to its "
        "disadvantage, or that of the run named by --dense, warmed up on whole frames.",
        network="dense",
    ),
}


@dataclass(frozen=True)
class Plan:
    """Trainings to make: from which run, on what, how many, where to."""

    start: Path
    material: Path
    split: str
    seeds: int
    clips: int
    steps: int
    folder: Path
    dense: Path | None = None  # the dense yardstick keeps the encoders of this run, not of `start`


def listed() -> Table:
    """The variations as a table."""
    table = Table("name", "how it is trained", box=None)
    for name, variation in VARIATIONS.items():
        table.add_row(name, variation.says)
    return table


def retrain(plan: Plan, names: Sequence[str], console: Console) -> list[tuple[str, Path]]:
    """Train each variation of `names` (or `all`) with each seed, where that is not done; (name, run) of all of them.

    Raises UsageError for unknown names, InputError for a cache or material that does not fit.
    """
    chosen = list(VARIATIONS) if "all" in names else list(dict.fromkeys(names))
    unknown = [name for name in chosen if name not in VARIATIONS]
    if unknown:
        raise UsageError(f"--train {unknown[0]}: unknown; choose from all, {', '.join(VARIATIONS)}.")
    runs = []
    sources: dict[Network, SceneSource] = {}  # reading the material takes a while, and is the same for all of a network
    for name in chosen:
        for seed in range(plan.seeds):
            folder = plan.folder / f"{name}-{seed}"
            if not (folder / "model.safetensors").is_file():
                console.print(f"trains {name}, seed {seed}", markup=False)
                train(_job(plan, VARIATIONS[name], folder, seed, sources), console)
            runs.append((name, folder))
    return runs


def _job(plan: Plan, variation: Variation, folder: Path, seed: int, sources: dict[Network, SceneSource]) -> Job:
    run = read_run(plan.start)
    config = varied(run.config, variation)
    if variation.network not in sources:
        sources[variation.network] = open_source(plan.material, config, 0, plan.split)
    source = sources[variation.network]
    if source.labels != run.labels:
        raise UsageError(f"{plan.material}: has other classes than {plan.start}; name the material it was trained on.")
    recipe = Recipe(
        steps=plan.steps, rate=1e-3, ramp=60, frozen=ENCODERS, precision="bf16-mixed", losses=_TRUE, seed=seed
    )
    recipe = replace(recipe, **variation.recipe)
    cache = plan.folder / f"clips-{variation.network}"
    return Job(
        config,
        recipe,
        source,
        folder,
        start=plan.dense if variation.network == "dense" and plan.dense else plan.start,
        sources=run.sources,
        resume=(folder / "run.json").exists(),
        network=variation.network,
        encoders_only=True,
        published=("focus",) if variation.focus else (),
        cached=plan.clips,
        cache=cache,
    )


def varied(config: Config, variation: Variation) -> Config:
    """A run's configuration as the variation has it."""
    if variation.network == "dense":
        return dense_config(config)
    focus = variation.focus or config.focus
    return replace(config, focus=focus, saliency=replace(config.saliency, **variation.saliency))
