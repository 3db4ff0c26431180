"""A picture of how a decision was reached: saliency over time, what was chosen, where was looked, what was heard."""

from __future__ import annotations

import io
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from avgn.errors import UsageError
from avgn.extras import import_extra
from avgn.files import write_file
from avgn.logmel import log_mel_windows

if TYPE_CHECKING:
    from avgn.config import Config
    from avgn.snippets import Clip
    from runtimes.decision import Decision

FORMATS = (".png", ".pdf", ".svg")
CHOSEN, LINE = "#d62728", "#1f77b4"
COLUMNS = 6  # pictures side by side


def check_plot(path: Path) -> None:
    """Fail before the work starts: MissingError without matplotlib, UsageError for a kind of file it cannot write."""
    import_extra("matplotlib.figure", "plot", "a plot")
    if path.suffix.lower() not in FORMATS:
        raise UsageError(f"{path}: a plot is written as {', '.join(FORMATS)}; choose one of them.")


def draw(decision: Decision, config: Config, path: Path) -> None:
    """Draw `decision` into the file at `path`; its clip is read again for the pictures and the sound."""
    check_plot(path)
    from matplotlib.figure import Figure

    from avgn.media import read_clip

    clip = read_clip(decision.file, config)
    shown = [(index, centre) for index, centre in zip(decision.selected, decision.centres, strict=True)]
    rows = max(1, -(-len(shown) // COLUMNS))
    figure = Figure(figsize=(11, 5.2 + 1.9 * rows), dpi=110, layout="constrained")
    grid = figure.add_gridspec(rows + 2, COLUMNS, height_ratios=[1.6, *[1.5] * rows, 1.6])
    figure.suptitle(_title(decision), fontsize=13)
    duration = max(clip.duration, float(clip.times.max()))
    _draw_saliency(figure.add_subplot(grid[0, :]), decision, duration)
    for slot, (index, centre) in enumerate(shown):
        axes = figure.add_subplot(grid[1 + slot // COLUMNS, slot % COLUMNS])
        _draw_picture(axes, clip, index, centre, config)
    _draw_sound(figure.add_subplot(grid[-1, :]), clip, config, duration)
    content = io.BytesIO()
    figure.savefig(content, format=path.suffix.lower().removeprefix("."))
    write_file(path, content.getvalue())


def _title(decision: Decision) -> str:
    how = "the glance alone" if decision.exited else f"{len(decision.selected)} of {len(decision.times)} snippets"
    # a dollar sign would begin a formula, and some file names hold characters that cannot be drawn
    name = Path(decision.file).name.encode("utf-8", "replace").decode().replace("$", r"\$")
    return f"{name}: {decision.label} ({decision.score:.1%}), from {how}, {decision.backend} {decision.precision}"


def _draw_saliency(axes: Any, decision: Decision, duration: float) -> None:
    times, saliency = np.array(decision.times), np.array(decision.saliency)
    chosen = list(decision.selected)
    axes.plot(times, saliency, color=LINE, marker="o", markersize=4, label="saliency")
    axes.plot(times[chosen], saliency[chosen], "o", color=CHOSEN, markersize=9, label="focused on")
    for time in times[chosen]:
        axes.axvline(time, color=CHOSEN, alpha=0.3, zorder=0)
    axes.set(xlim=(0, duration), ylabel="saliency")
    axes.legend(loc="upper right", fontsize=8)


def _draw_picture(axes: Any, clip: Clip, index: int, centre: tuple[float, float], config: Config) -> None:
    axes.set_axis_off()
    axes.set_title(f"snippet {index}, {clip.times[index]:.2f} s", fontsize=9)
    picture = clip.pictures[index]
    if picture is None:
        axes.text(0.5, 0.5, "no picture", ha="center", va="center", transform=axes.transAxes)
        return
    from matplotlib.patches import Rectangle

    pixels = picture.scaled(config.patch.short_side)
    height, width = pixels.shape[:2]
    side = config.patch.size
    axes.imshow(pixels)
    corner = (centre[1] * width - side / 2 - 0.5, centre[0] * height - side / 2 - 0.5)
    axes.add_patch(Rectangle(corner, side, side, fill=False, edgecolor=CHOSEN, linewidth=2))


def _draw_sound(axes: Any, clip: Clip, config: Config, duration: float) -> None:
    """The log-mel of each snippet where it lies in the clip; blank where no snippet listened."""
    sound = config.sound
    axes.set(xlim=(0, duration), ylim=(0, sound.mels), xlabel="seconds", ylabel="mel band")
    if not clip.heard.any():
        axes.text(0.5, 0.5, "no sound", ha="center", va="center", transform=axes.transAxes)
        return
    first, strip = _strip(log_mel_windows(clip.sound, clip.starts, sound), clip, sound.hop)
    begins = first * sound.hop / sound.rate
    extent = (begins, begins + strip.shape[1] * sound.hop / sound.rate, 0, sound.mels)
    axes.imshow(strip, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
    axes.set(xlim=(0, duration))


def _strip(mels: NDArray[np.float32], clip: Clip, hop: int) -> tuple[int, NDArray[np.float32]]:
    """Windows [T,1,M,F] on one time axis: its first column on the clip's hop grid, and [M, columns], NaN in gaps."""
    columns = clip.starts[clip.heard] // hop
    first = int(columns.min())
    strip = np.full((mels.shape[2], int(columns.max()) - first + mels.shape[3]), np.nan, np.float32)
    for column, mel in zip(columns - first, mels[clip.heard], strict=True):
        strip[:, column : column + mel.shape[-1]] = mel[0]
    return first, strip
