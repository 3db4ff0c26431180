"""The proof: PyTorch eager, the ExportedProgram and the artefact on real clips, graph by graph and end to end.

Three rules keep it honest. Inputs are what each graph really sees on real clips (random inputs hide wrong graphs). The
errors are relative to the size of the eager outputs. A difference in the chosen set counts as a fault unless the
saliencies that were swapped lie closer together than an error within the bound could move them (the margin rule).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from avgn.contract import HEAVY, LEAST_INT8
from avgn.errors import ProofError
from avgn.manifest import Parity
from avgn.snippets import Clip
from runtimes.backends import Engine
from runtimes.classifier import Classifier
from runtimes.decision import Decision

Tensors = Mapping[str, NDArray[Any]]


@dataclass(frozen=True)
class Bound:
    """What a precision must hold: relative RMS error per graph, the shares of clips with the same label and set.

    Saliencies closer than `margin` (of the clip's spread) may change places: an error of the bound moves two of them by
    twice the bound against each other; fp32 has room for `glance` and `select` in a row.
    """

    relative_rms: float
    same_labels: float
    same_sets: float
    margin: float
    quantised_rms: float | None = None  # of graphs that hold quantisers

    def of(self, quantised: bool) -> float:
        """The relative RMS that a graph may have which has quantisers, or none."""
        own = self.quantised_rms if quantised else None
        return self.relative_rms if own is None else own


# int8: rounding to 8 bits costs what calibration can save, not a fixed error. Two int8 engines that round ties apart
# differ by up to a quarter of the outputs' spread; 0.35 leaves as much again, in squares, for what int8 itself costs.
# The other graphs are float and held as such.
BOUNDS = {
    "fp32": Bound(1e-5, 1.0, 1.0, 1e-4),
    "fp16": Bound(1e-2, 0.99, 0.99, 2e-2),
    "int8": Bound(1e-5, 0.9, 0.5, 2e-2, quantised_rms=0.35),
}


def enough_int8(backend: str, graph: str, share: float) -> dict[str, str]:
    """What to note of a quantised graph whose file does `share` (0..1) of its multiply-accumulates in int8.

    Raises ProofError for a heavy graph below LEAST_INT8: engines run in float what they cannot run in int8, and say
    nothing. Of the others only the layers are quantised: what attention multiplies in float may be more than a tenth.
    """
    if graph in HEAVY and share < LEAST_INT8:
        raise ProofError(
            f"{backend} int8: only {share:.0%} of the work of {graph} runs in int8, below {LEAST_INT8:.0%}; "
            "is the run's quantisation whole?"
        )
    return {"MACs in int8": f"{share:.1%}"}


@dataclass(frozen=True)
class EndToEnd:
    """Whole clips: how many gave the same label and the same chosen set as eager."""

    clips: int
    same_labels: int
    same_sets: int
    near_ties: int  # sets that differ only within the margin; counted as the same


@dataclass(frozen=True)
class Proof:
    """The parity of one artefact: per graph against eager, the ExportedProgram likewise, and end to end."""

    artefact: dict[str, Parity]
    exported: dict[str, Parity]
    whole: EndToEnd
    quantised: tuple[str, ...] = HEAVY  # graphs that hold quantisers, in int8

    def broken(self, bound: Bound) -> list[str]:
        """Sentences for each bound that does not hold; empty when all do."""
        faults = [
            f"{where} of {graph}: relative RMS {parity.relative_rms:.2g} is above {bound.of(graph in self.quantised):g}"
            for where, table in (("artefact", self.artefact), ("ExportedProgram", self.exported))
            for graph, parity in table.items()
            if parity.relative_rms > bound.of(graph in self.quantised)
        ]
        shares = (
            ("labels", self.whole.same_labels, bound.same_labels),
            ("chosen sets", self.whole.same_sets, bound.same_sets),
        )
        faults += [
            f"the same {what} on {same} of {self.whole.clips} clips, below {least:.0%}"
            for what, same, least in shares
            if same < least * self.whole.clips
        ]
        return faults


class Recorder:
    """An engine that remembers what each graph was given, at most `most` calls a graph."""

    def __init__(self, engine: Engine, most: int = 64) -> None:
        self.backend, self.precision = engine.backend, engine.precision
        self.calls: dict[str, list[tuple[Tensors, Tensors]]] = {}
        self._engine, self._most = engine, most

    def run(self, graph: str, inputs: Tensors) -> dict[str, NDArray[Any]]:
        """Run and remember copies."""
        outputs = self._engine.run(graph, inputs)
        calls = self.calls.setdefault(graph, [])
        if len(calls) < self._most:
            calls.append(({name: np.array(value) for name, value in inputs.items()}, outputs))
        return outputs


def prove(
    eager: Classifier, exported: Engine, artefact: Classifier, clips: Sequence[Clip], margin: float = 1e-4
) -> Proof:
    """Compare `artefact` and `exported` with `eager` on `clips`; the module has the rules."""
    recorder = Recorder(eager.engine)
    reference = [eager.with_engine(recorder).classify_clip(clip) for clip in clips]
    for window in (clip.sound[index] for clip in clips for index in np.flatnonzero(clip.heard)):
        recorder.run("logmel", {"sound": window[None]})

    def table(engine: Engine) -> dict[str, Parity]:
        return {graph: compare(engine, graph, calls, len(clips)) for graph, calls in recorder.calls.items()}

    answers = [artefact.classify_clip(clip) for clip in clips]
    return Proof(table(artefact.engine), table(exported), whole(reference, answers, margin))


def compare(engine: Engine, graph: str, calls: Sequence[tuple[Tensors, Tensors]], clips: int) -> Parity:
    """Error of `engine` on the recorded calls of one graph, the worst of its outputs."""
    results = [engine.run(graph, inputs) for inputs, _ in calls]
    every = []
    for name in calls[0][1]:
        expected = np.stack([outputs[name] for _, outputs in calls]).astype(np.float64)
        found = np.stack([outputs[name] for outputs in results]).astype(np.float64)
        if not np.isfinite(found).all():
            raise ProofError(f"{engine.backend} {engine.precision}: {graph} gave a {name} that is not finite.")
        every.append(difference(expected, found, clips))
    worst = max(every, key=lambda parity: parity.relative_rms)
    return replace(worst, max_error=max(parity.max_error for parity in every))


def difference(expected: NDArray[np.float64], found: NDArray[np.float64], clips: int) -> Parity:
    """Max error, RMS error relative to the RMS of `expected`, and PSNR (dB, peak = largest magnitude expected)."""
    error = found - expected
    rms, size = float(np.sqrt(np.mean(error**2))), float(np.sqrt(np.mean(expected**2)))
    peak = float(np.abs(expected).max())
    psnr = 20 * np.log10(peak / rms) if rms > 0 and peak > 0 else 200.0
    return Parity(clips, float(np.abs(error).max()), rms / size if size else rms, float(min(psnr, 200.0)))


def whole(reference: Sequence[Decision], answers: Sequence[Decision], margin: float = 1e-4) -> EndToEnd:
    """Same labels and same chosen sets; `margin` is relative to the spread of the clip's saliency."""
    exact = [first.selected == second.selected for first, second in zip(reference, answers, strict=True)]
    near = [_near_tie(first, second, margin) for first, second in zip(reference, answers, strict=True)]
    labels = sum(first.label == second.label for first, second in zip(reference, answers, strict=True))
    sets = sum(same or tie for same, tie in zip(exact, near, strict=True))
    return EndToEnd(len(reference), labels, sets, sets - sum(exact))


def _near_tie(first: Decision, second: Decision, margin: float) -> bool:
    """Whether the snippets that only one of the two chose lie within `margin` of each other for the first."""
    swapped = set(first.selected) ^ set(second.selected)
    values = [first.saliency[index] for index in swapped]
    spread = max(first.saliency) - min(first.saliency)
    return bool(values) and max(values) - min(values) <= margin * max(spread, 1.0)
