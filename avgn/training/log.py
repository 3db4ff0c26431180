"""Metrics of a run: `metrics-PHASE.csv` and TensorBoard event files, both cut back to the step a run resumes from."""

from __future__ import annotations

import csv
from pathlib import Path

from torch.utils.tensorboard import SummaryWriter


class MetricsLog:
    """Appends rows of named values; columns are fixed by the first row."""

    def __init__(self, folder: Path, phase: str, start: int) -> None:
        """Rows of steps from `start` on, left by a run that was killed, are dropped."""
        self._path, self._phase = folder / f"metrics-{phase}.csv", phase
        self._board = SummaryWriter(str(folder / "tensorboard"), purge_step=start)
        kept = self._rows(start) if start else []
        self._columns = kept[0] if kept else []
        with self._path.open("w", newline="", encoding="utf-8") as file:
            csv.writer(file).writerows(kept)

    def write(self, step: int, values: dict[str, float]) -> None:
        """Append one row."""
        with self._path.open("a", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            if not self._columns:
                self._columns = ["step", *values]
                writer.writerow(self._columns)
            writer.writerow([step, *(f"{values.get(name, float('nan')):.6g}" for name in self._columns[1:])])
        for name, value in values.items():
            self._board.add_scalar(f"{self._phase}/{name}", value, step)

    def _rows(self, start: int) -> list[list[str]]:
        if not self._path.is_file():
            return []
        with self._path.open(newline="", encoding="utf-8") as file:
            head, *rows = list(csv.reader(file)) or [[]]
        return [head, *(row for row in rows if row and int(row[0]) < start)]
