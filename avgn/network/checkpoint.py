"""A run on disk: `model.safetensors` and `run.json`. No pickle."""

from __future__ import annotations

import json
import secrets
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save
from torch import Tensor, nn

from avgn.config import Config
from avgn.errors import InputError
from avgn.files import parse_json, write_file
from avgn.manifest import Source
from avgn.network.avgn import AVGN
from avgn.network.dense import Dense
from avgn.schema import build, plain

FORMAT = 1
QUANTISATION = "quantisation.json"  # beside the run of a quantised one; `quantize.state` reads and writes it
Network = Literal["avgn", "dense"]
N = TypeVar("N", bound=nn.Module)


@dataclass(frozen=True)
class Run:
    """What a checkpoint says of itself; `run` is the identity that every graph made from it carries."""

    format: int
    run: str
    labels: tuple[str, ...]
    config: Config
    trained: str  # on what, for how long; "not trained" for a fresh net
    sources: tuple[Source, ...] = ()
    exit_confidence: float | None = None
    network: Network = "avgn"


def new_run(config: Config, labels: tuple[str, ...], trained: str = "not trained", network: Network = "avgn") -> Run:
    """Make a Run with a fresh identity."""
    return Run(FORMAT, secrets.token_hex(8), labels, config, trained, network=network)


def save_run(folder: Path, model: nn.Module, run: Run) -> None:
    """Write `model` and `run` to `folder`; what fp16 holds exactly is written as fp16."""
    folder.mkdir(parents=True, exist_ok=True)
    weights = {name: _smallest(value.detach().cpu()).contiguous() for name, value in model.state_dict().items()}
    write_file(folder / "model.safetensors", save(weights))
    write_run(folder, run)


def _smallest(value: Tensor) -> Tensor:
    """The same values in fp16 where nothing is lost."""
    half = value.half() if value.dtype == torch.float32 else value
    return half if torch.equal(half.to(value.dtype), value) else value


def write_run(folder: Path, run: Run) -> None:
    """Write `run.json` alone."""
    folder.mkdir(parents=True, exist_ok=True)
    write_file(folder / "run.json", json.dumps(plain(run), indent=2) + "\n")


def load_run(folder: Path) -> tuple[AVGN, Run]:
    """Read a run of AVGN back, in evaluation mode. Raises InputError naming what is missing or wrong."""
    run = _run_of(folder, "avgn")
    return _filled(AVGN(run.config), folder), run


def load_dense(folder: Path) -> tuple[Dense, Run]:
    """The same for a run of the dense yardstick."""
    run = _run_of(folder, "dense")
    return _filled(Dense(run.config), folder), run


def _run_of(folder: Path, network: Network) -> Run:
    run = read_run(folder)
    if run.network != network:
        raise InputError(f"{folder}: is a run of the {run.network} network, not of {network}; name another run.")
    return run


def load_weights(folder: Path) -> dict[str, Tensor]:
    """The weights of any run, by name. Raises InputError where they cannot be read."""
    path = folder / "model.safetensors"
    try:
        return load_file(path)
    except (OSError, SafetensorError) as fault:
        raise InputError(f"{path}: not a readable safetensors file ({fault}); is this the folder of a run?") from fault


def _filled(model: N, folder: Path) -> N:
    try:
        model.load_state_dict(load_weights(folder))
    except RuntimeError as fault:
        raise InputError(f"{folder}: the weights do not fit run.json's configuration: {fault}") from fault
    return model.eval()


def read_sources(path: Path) -> tuple[Source, ...]:
    """Read a JSON list of {what, where, licence}. Raises InputError."""
    try:
        rows = parse_json(path.read_bytes(), str(path))
    except OSError as fault:
        raise InputError(f"{path}: cannot be read ({fault}); name a JSON list of what, where and licence.") from fault
    if not isinstance(rows, list):
        raise InputError(f"{path}: must be a JSON list of what, where and licence.")
    return tuple(build(Source, row, f"{path}[{index}]") for index, row in enumerate(rows))


def read_run(folder: Path) -> Run:
    """Read `run.json` alone."""
    path = folder / "run.json"
    try:
        data = parse_json(path.read_bytes(), str(path))
    except OSError as fault:
        raise InputError(
            f"{path}: not a readable run description ({fault}); name a folder made by `avgn train`."
        ) from fault
    run = build(Run, data, str(path))
    if run.format != FORMAT:
        raise InputError(f"{path}: format {run.format} is not known to this version, which reads {FORMAT}.")
    return run
