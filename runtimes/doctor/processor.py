"""The processor: what it can do that matters here, how many of its cores we may use, and how much memory."""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from pathlib import PurePosixPath

from runtimes.doctor.finding import Finding, State
from runtimes.profile.sensors.tree import Tree, whole

# What the kernel calls a feature, and what it is good for; x86 first, then ARM.
FEATURES = {
    "avx2": "AVX2",
    "avx512f": "AVX-512",
    "avx_vnni": "VNNI (int8)",
    "avx512_vnni": "VNNI (int8)",
    "avx512_bf16": "bf16",
    "avx512_fp16": "fp16",
    "amx_int8": "AMX int8",
    "asimd": "NEON",
    "asimddp": "dot product (int8)",
    "i8mm": "int8 matrices",
    "asimdhp": "fp16",
    "bf16": "bf16",
    "sve": "SVE",
}
INT8 = ("avx_vnni", "avx512_vnni", "amx_int8", "asimddp", "i8mm")
_LINE = re.compile(r"^(flags|Features|model name|Model|Hardware)\s*:\s*(.*)$", re.MULTILINE)
_V1 = "sys/fs/cgroup"
_FEW = 1 << 30  # bytes of memory below which a decision may not fit


def processor_findings(tree: Tree, cores: int) -> Iterator[Finding]:
    """Features, threads and memory; `cores` are those that this process may run on."""
    told = dict(reversed(_LINE.findall(tree.read("proc/cpuinfo") or "")))
    flags = set((told.get("flags") or told.get("Features") or "").split())
    name = told.get("model name") or told.get("Model") or told.get("Hardware") or "processor"
    features = list(dict.fromkeys(text for flag, text in FEATURES.items() if flag in flags))
    if not flags:
        yield Finding("processor", name, State.ABSENT, "does not say what it can do (no /proc/cpuinfo)")
    elif flags.isdisjoint(INT8):
        says = f"has no instructions for int8 ({', '.join(features) or 'none that matter'}): int8 may be no faster"
        yield Finding("processor", name, State.DOUBT, says, "avgn bench")
    else:
        yield Finding("processor", name, State.OK, ", ".join(features))
    yield _threads(cores, cpu_limit(tree))
    memory = memory_bytes(tree)
    if memory is not None:
        enough = memory >= _FEW
        says = f"{memory / 2**30:.1f} GiB may be used" + ("" if enough else ": a large bundle may not fit")
        yield Finding("processor", "memory", State.OK if enough else State.DOUBT, says, "" if enough else "free -h")


def _threads(cores: int, limit: float | None) -> Finding:
    if limit is None or limit >= cores:
        return Finding("processor", "threads", State.OK, f"{cores} cores may be used")
    wanted = max(1, math.floor(limit))
    says = f"{cores} cores are seen, but a limit (cgroup) allows {limit:g} at a time: more threads only wait"
    return Finding("processor", "threads", State.DOUBT, says, f"avgn classify --threads {wanted} FILE")


def cpu_limit(tree: Tree) -> float | None:
    """How many cores at a time the control groups allow; None where they do not limit."""
    limits = []
    for folder in _folders(tree):
        quota, _, period = (tree.read(f"{folder}/cpu.max") or "").partition(" ")
        if quota.isdecimal() and period.isdecimal() and int(period):
            limits.append(int(quota) / int(period))
    for part in ("cpu", "cpu,cpuacct"):
        old, every = (whole(tree.read(f"{_V1}/{part}/cpu.cfs_{name}_us")) for name in ("quota", "period"))
        if old and every and old > 0 and every > 0:
            limits.append(old / every)
    return min(limits, default=None)


def memory_bytes(tree: Tree) -> int | None:
    """Bytes of memory that may be used: the machine's, or what the control groups allow of it; None: unknown."""
    match = re.search(r"^MemTotal:\s*(\d{1,15}) kB", tree.read("proc/meminfo") or "", re.MULTILINE)
    sizes = [int(match[1]) << 10] if match else []
    places = [f"{folder}/memory.max" for folder in _folders(tree)] + [f"{_V1}/memory/memory.limit_in_bytes"]
    sizes += [size for place in places if (size := whole(tree.read(place))) is not None and size > 0]
    return min(sizes, default=None)


def _folders(tree: Tree) -> list[str]:
    """The folders of this process's control group (version 2) and those above it, of which each may limit."""
    match = re.search(r"^0::(/.*)$", tree.read("proc/self/cgroup") or "", re.MULTILINE)
    path = PurePosixPath(match[1] if match else "/")
    if ".." in path.parts:
        path = PurePosixPath("/")
    return [f"sys/fs/cgroup{each}".rstrip("/") for each in (path, *path.parents)]
