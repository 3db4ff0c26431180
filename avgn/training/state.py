"""The state of an unfinished training run: one safetensors file, written at once, read back exactly. No pickle."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from avgn.errors import InputError
from avgn.files import write_file


def save_state(path: Path, step: int, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> None:
    """Write model, its moving average, optimiser and random state as of `step`."""
    tensors = {f"model.{name}": value for name, value in model.state_dict().items()}
    tensors |= {f"average.{name}": value for name, value in average.state_dict().items()}
    state = optimiser.state_dict()["state"]
    tensors |= {
        f"optimiser.{index}.{name}": torch.as_tensor(value)
        for index, row in state.items()
        for name, value in row.items()
    }
    tensors["random.cpu"] = torch.get_rng_state()
    if torch.cuda.is_available():
        tensors["random.cuda"] = torch.cuda.get_rng_state()
    copies = {name: value.detach().cpu().contiguous().clone() for name, value in tensors.items()}
    write_file(path, save(copies, {"state": json.dumps({"step": step})}))


def load_state(path: Path, model: nn.Module, average: nn.Module, optimiser: torch.optim.Optimizer) -> int:
    """Put everything back as `save_state` found it and return the step. Raises InputError for an unusable file."""
    try:
        with safe_open(path, "pt") as file:
            step = int(json.loads(file.metadata()["state"])["step"])
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (not a dict)
        model.load_state_dict(_part(tensors, "model."))
        average.load_state_dict(_part(tensors, "average."))
    except (OSError, SafetensorError, RuntimeError, KeyError, TypeError, ValueError) as fault:
        raise InputError(f"{path}: not the state of this run ({fault}); train without --resume.") from fault
    groups = optimiser.state_dict()["param_groups"]
    rows: dict[int, dict[str, Any]] = {}
    for name, value in _part(tensors, "optimiser.").items():
        index, field = name.split(".", 1)
        rows.setdefault(int(index), {})[field] = value
    optimiser.load_state_dict({"state": rows, "param_groups": groups})
    torch.set_rng_state(tensors["random.cpu"])
    if "random.cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random.cuda"])
    return step


def _part(tensors: dict[str, Tensor], prefix: str) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
