"""The training loop: warm-up, then whole clips; one process or many, resumable after a kill."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import torch
from lightning_fabric import Fabric
from lightning_fabric.strategies import DDPStrategy
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn
from torch.utils.data import DataLoader, Dataset

from avgn.training.log import MetricsLog
from avgn.training.recipe import PARTS, Recipe
from avgn.training.state import load_state, save_state

_LOG_EVERY = 10  # steps
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Phase:
    """A stretch of training: `item(index)` makes a sample, `collate` a batch, `step` the named losses of one."""

    name: str
    steps: int
    batch: int
    item: Callable[[int], Any]
    collate: Callable[[list[Any]], Any]
    step: Callable[[Any, Any], dict[str, Tensor]]
    frozen: tuple[str, ...] = ()  # parts of the network that keep what they have


class Items(Dataset[Any]):
    """A map-style view of an endless source."""

    def __init__(self, item: Callable[[int], Any], count: int) -> None:
        self.item, self.count = item, count

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, index: int) -> Any:
        return self.item(index)


class Step(nn.Module):
    """A phase's losses as a module's forward, so that DistributedDataParallel sees them."""

    def __init__(self, model: nn.Module, losses: Callable[[Any, Any], dict[str, Tensor]]) -> None:
        super().__init__()
        self.model, self.losses = model, losses

    def forward(self, batch: Any) -> dict[str, Tensor]:
        """Named losses of one batch."""
        return self.losses(self.model, batch)


def make_fabric(precision: str) -> Fabric:
    """Fabric for this process: the processes torchrun started, else one device (a GPU where there is one)."""
    world = int(os.environ.get("LOCAL_WORLD_SIZE", "1"))
    if precision == "auto":
        precision = "bf16-mixed" if torch.cuda.is_available() else "32-true"
    strategy = DDPStrategy(find_unused_parameters=True) if int(os.environ.get("WORLD_SIZE", "1")) > 1 else "auto"
    nodes = max(1, int(os.environ.get("WORLD_SIZE", "1")) // world)
    fabric = Fabric(devices=world, num_nodes=nodes, strategy=strategy, precision=precision)  # type: ignore[arg-type]
    fabric.launch()
    return fabric


def run_phase(
    fabric: Fabric,
    model: N,
    phase: Phase,
    recipe: Recipe,
    folder: Path,
    console: Console,
    resume: bool,
    workers: int,
) -> N:
    """Train `model` through `phase` and return its moving average; state is kept in `folder`."""
    # twice as fast for convolutions in bfloat16
    model = model.to(memory_format=torch.channels_last)  # type: ignore[call-overload]
    optimiser = make_optimiser(model, recipe, phase.frozen)
    average = AveragedModel(model, multi_avg_fn=get_ema_multi_avg_fn(recipe.ema), use_buffers=True)
    state = folder / f"state-{phase.name}.safetensors"
    start = load_state(state, model, average, optimiser) if resume and state.exists() else 0
    if not start:
        fabric.seed_everything(recipe.seed + fabric.global_rank, verbose=False)
    module, wrapped = fabric.setup(Step(model, phase.step), optimiser)
    average = average.to(fabric.device)
    log = MetricsLog(folder, phase.name, start) if fabric.is_global_zero else None
    with _progress(console, fabric.is_global_zero) as bar:
        task = bar.add_task(phase.name, total=phase.steps, completed=start)
        for step, batch in enumerate(_batches(fabric, phase, start, workers), start):
            began = time.perf_counter()
            rate = set_rate(optimiser, recipe, step, phase.steps)
            _set_modes(model, recipe, phase.frozen)
            terms = module(batch)
            fabric.backward(terms["total"])
            fabric.clip_gradients(module, wrapped, max_norm=recipe.clip_norm, error_if_nonfinite=False)
            wrapped.step()
            wrapped.zero_grad()
            average.update_parameters(model)
            if log and step % _LOG_EVERY == 0:
                log.write(
                    step,
                    {"rate": rate, "seconds": time.perf_counter() - began}
                    | {k: float(v.detach()) for k, v in terms.items()},
                )
            bar.update(task, completed=step + 1, description=f"{phase.name} loss {float(terms['total'].detach()):.3f}")
            if fabric.is_global_zero and ((step + 1) % recipe.save_every == 0 or step + 1 == phase.steps):
                save_state(state, step + 1, model, average, optimiser)
    fabric.barrier()
    trained: N = average.module  # type: ignore[assignment]
    return trained


def make_optimiser(model: nn.Module, recipe: Recipe, frozen: tuple[str, ...] = ()) -> torch.optim.Optimizer:
    """One parameter group per part and kind; biases, norms and embeddings are not decayed; `frozen` parts stay out."""
    groups = []
    for part, parameters in parts(model).items():
        factor = recipe.rates.get(part, 1.0)
        for parameter in parameters:
            parameter.requires_grad_(part not in frozen)
        for decays in (True, False):
            chosen = [value for value in parameters if (value.ndim > 1 and min(value.shape) > 1) == decays]
            if part not in frozen and chosen:
                decay = recipe.weight_decay if decays else 0.0
                groups.append({"params": chosen, "weight_decay": decay, "factor": factor})
    if recipe.optimiser == "sgd":
        return torch.optim.SGD(groups, lr=recipe.rate, momentum=0.9, nesterov=True)
    return torch.optim.AdamW(groups, lr=recipe.rate)


def parts(model: nn.Module) -> dict[str, list[nn.Parameter]]:
    """The model's parameters by part (`avgn.training.recipe.PARTS`)."""
    table: dict[str, list[nn.Parameter]] = {part: [] for part in PARTS}
    for name, parameter in model.named_parameters():
        head = name.split(".")[0]
        table[head if head in table else "rest"].append(parameter)
    return table


def set_rate(optimiser: torch.optim.Optimizer, recipe: Recipe, step: int, steps: int) -> float:
    """Linear ramp, then a cosine down to zero; returns the base rate of `step`."""
    ramp = min(recipe.ramp, max(1, steps // 4))
    rising = min(1.0, (step + 1) / ramp)
    falling = 0.5 * (1 + float(torch.cos(torch.tensor(torch.pi * max(0, step - ramp) / max(1, steps - ramp)))))
    rate = recipe.rate * rising * falling
    for group in optimiser.param_groups:
        group["lr"] = rate * group["factor"]
    return rate


def _set_modes(model: nn.Module, recipe: Recipe, frozen: tuple[str, ...]) -> None:
    """Training mode, but frozen parts, and batch norms if so wished, keep their statistics."""
    model.train()
    for module in model.modules():
        if recipe.frozen_norms and isinstance(module, nn.BatchNorm2d):
            module.eval()
    for name, module in model.named_children():
        if name in frozen:
            module.eval()


def _batches(fabric: Fabric, phase: Phase, start: int, workers: int) -> Iterator[Any]:
    """Batches of this process from step `start` on: every step sees the same clips however often it is resumed."""
    world, rank = fabric.world_size, fabric.global_rank
    share = max(1, phase.batch // world)
    steps = range(start, phase.steps)
    indices = [(step * world + rank) * share + item for step in steps for item in range(share)]
    loader = DataLoader(
        Items(phase.item, phase.steps * share * world),
        batch_size=share,
        sampler=indices,
        collate_fn=phase.collate,
        num_workers=workers,
        generator=torch.Generator().manual_seed(
            0
        ),  # leaves the run's own random state alone, so that resuming is exact
    )
    return iter(fabric.setup_dataloaders(loader, use_distributed_sampler=False))


def _progress(console: Console, shown: bool) -> Progress:
    columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, disable=not shown)
