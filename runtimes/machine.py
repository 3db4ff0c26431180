"""Which machine this is, and which versions of which tools are on it: what a measurement must be read with."""

from __future__ import annotations

import os
import platform
from pathlib import Path
from typing import Any

from avgn.extras import version_of

TOOLS = ("avgn", "numpy", "av", "openvino", "onnxruntime", "onnxruntime-gpu", "executorch", "ai-edge-litert", "torch")


def machine() -> dict[str, Any]:
    """Processor, cores that may be used, memory, system."""
    pages = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE") if hasattr(os, "sysconf") else 0
    return {
        "cpu": _cpu_model(),
        "cores": usable_cores(),
        "memory_gb": round(pages / 2**30, 1),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
    }


def versions() -> dict[str, str]:
    """Versions of Python and of the tools that are installed."""
    found = {tool: held for tool in TOOLS if (held := version_of(tool))}
    return {"python": platform.python_version()} | found


def usable_cores() -> int:
    """Processors that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _cpu_model() -> str:
    listed = Path("/proc/cpuinfo")
    lines = listed.read_text(encoding="utf-8", errors="replace").splitlines() if listed.is_file() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith(("model name", "Model", "Hardware"))]
    return names[0] if names else platform.processor() or platform.machine()
