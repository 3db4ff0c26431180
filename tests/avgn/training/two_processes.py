"""What each process of `test_two_processes_train_one_model` runs: train, then write a digest of its own weights."""

import hashlib
import os
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
sys.path.insert(0, str(Path(__file__).parents[2]))
sys.path.insert(0, str(Path(__file__).parents[3]))  # before tests/, where a folder is called avgn too

from test_train import QUIET, job

from avgn.training import loop
from avgn.training.train import train

folder = Path(sys.argv[1])
digest = hashlib.sha256()
inner = loop.run_phase


def spied(fabric, model, *rest):
    """Weights of this process's own model after the phase, not those of the saved average."""
    average = inner(fabric, model, *rest)
    for value in model.state_dict().values():
        digest.update(value.numpy().tobytes())
    return average


sys.modules["avgn.training.train"].run_phase = spied
train(job(folder / "run"), QUIET)
(folder / f"rank{os.environ['RANK']}").write_text(digest.hexdigest())
