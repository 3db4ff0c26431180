"""A thousand damaged files: each must give a clip or an InputError, in time, and never a crash."""

from __future__ import annotations

import multiprocessing
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest

from clips import write_clip
from damage import variants

LIMIT_SECONDS = 10.0
COUNTS = {"clip.mp4": 500, "clip.mkv": 200, "clip.ts": 150, "clip.avi": 150}


def read(connection, folder: str, name: str) -> None:
    """A worker: bytes in, what became of them out; every outcome that is not foreseen is told by its type."""
    import av

    from avgn.config import Config
    from avgn.errors import InputError
    from avgn.media import probe, read_clip

    path, config = Path(folder) / name, Config()
    assert av.logging.get_level() is None
    while True:
        path.write_bytes(connection.recv_bytes())
        try:
            clip = read_clip(path, config)
            for picture in filter(None, clip.pictures[::5]):
                picture.squashed(32)
                picture.scaled(48)
            probe(path)
            outcome = "clip"
        except InputError as fault:
            outcome = "refused" if name in str(fault) or "pixel format" in str(fault) else f"no name: {fault}"
        except BaseException as fault:
            outcome = f"{type(fault).__name__}: {fault}"
        connection.send(outcome)


@dataclass
class Worker:
    """A long-lived process that is replaced when it dies or hangs."""

    folder: str
    name: str
    process = None

    def try_file(self, data: bytes) -> str:
        if self.process is None:
            context = multiprocessing.get_context("spawn")
            self.connection, far = context.Pipe()
            self.process = context.Process(target=read, args=(far, self.folder, self.name), daemon=True)
            self.process.start()
            far.close()
        self.connection.send_bytes(data)
        try:
            if self.connection.poll(LIMIT_SECONDS):
                return self.connection.recv()
            outcome = "hangs"
        except EOFError:
            self.process.join()
            outcome = f"crashed with {self.process.exitcode}"
        self.close()
        return outcome

    def close(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.join()
            self.process = None


@pytest.mark.parametrize("name", COUNTS)
def test_damaged_files_give_a_clip_or_an_input_error(tmp_path: Path, name: str) -> None:
    source = tmp_path / name
    forms = {"clip.avi": {"codec": "mpeg4", "sound": "mp3"}}
    write_clip(source, 1.5, size=(64, 48), fps=8, keys=4, rate=32000, **forms.get(name, {}))
    workers = [Worker(str(tmp_path), f"{number}{source.suffix}") for number in range(2)]
    cases = list(variants(source.read_bytes(), COUNTS[name], seed=len(name)))

    def share(number: int) -> list[tuple[str, str]]:
        return [(what, workers[number].try_file(data)) for what, data in cases[number :: len(workers)]]

    try:
        with ThreadPoolExecutor(len(workers)) as pool:
            outcomes = [outcome for part in pool.map(share, range(len(workers))) for outcome in part]
    finally:
        for worker in workers:
            worker.close()
    assert [(what, outcome) for what, outcome in outcomes if outcome not in ("clip", "refused")] == []
    assert {outcome for _, outcome in outcomes} == {"clip", "refused"}
