"""Who may import whom: by reading every file, and by importing the device side with the rest made unreachable."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGES = ("avgn", "runtimes", "quantize", "export")


def name_of(path):
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


MODULES = {name_of(path): path for package in PACKAGES for path in sorted((ROOT / package).rglob("*.py"))}

# Each room and the rooms that it may import, as prefixes of module names; a room may always import itself.
BASE = ("avgn.errors", "avgn.extras", "avgn.files", "avgn.schema", "avgn.config", "avgn.selection")
# the single files of avgn/ (bundle, media, logmel, ...): any of each other
GROUND = tuple(
    name for name, path in MODULES.items() if path.parent == ROOT / "avgn" and name not in ("avgn", "avgn.cli")
)
DEVICE = (*GROUND, "runtimes")
TRAINING = (*GROUND, "avgn.network", "avgn.data", "avgn.training")
FLOORS = {
    **dict.fromkeys(GROUND, GROUND),
    **dict.fromkeys(BASE, BASE),
    "avgn.network": GROUND,
    "avgn.data": (*GROUND, "avgn.network"),
    "avgn.training": TRAINING,
    "runtimes": DEVICE,
    "quantize": TRAINING,
    "export": (*TRAINING, "quantize", "runtimes"),
    # the doors of the house: what lies above the device side they import inside functions
    "avgn": DEVICE,
    "avgn.commands": DEVICE,
    "avgn.cli": (*DEVICE, "avgn.commands"),
}
DOORS = ("avgn", "avgn.commands", "avgn.cli")
HEAVY = ("torch", "lightning_fabric", "nncf", "avgn.network", "avgn.data", "avgn.training", "quantize", "export")
TORCH_INSIDE = {"runtimes/backends/torch.py", "runtimes/backends/executorch.py"}


def within(module, prefixes):
    return any(module == prefix or module.startswith(f"{prefix}.") for prefix in prefixes)


def imports(path, functions=True):
    """Modules that a file imports; without `functions`, those only that importing it imports."""
    pending, found = [ast.parse(path.read_text(encoding="utf-8"))], set()
    while pending:
        node = pending.pop()
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= {name if name in MODULES else node.module for name in names}
        if not functions and isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            pending += node.orelse
            continue
        pending += ast.iter_child_nodes(node)
    return found


def room_of(module):
    return max((room for room in FLOORS if within(module, [room])), key=len)


@pytest.mark.parametrize("module", sorted(MODULES))
def test_no_module_imports_from_a_higher_floor(module):
    room = room_of(module)
    ours = {name for name in imports(MODULES[module], functions=room not in DOORS) if within(name, PACKAGES)}
    wrong = {name for name in ours if not within(name, (*FLOORS[room], room)) or (name == "avgn" and room != "avgn")}
    assert room != "avgn" or module == "avgn", f"{module} has no floor: add it to the table"
    assert not wrong, f"{module} imports {', '.join(sorted(wrong))}"


def is_device_side(module):
    return not within(module, ("avgn.network", "avgn.data", "avgn.training", "quantize", "export"))


@pytest.mark.parametrize("module", sorted(filter(is_device_side, MODULES)))
def test_the_device_side_names_nothing_heavy(module):
    path = MODULES[module]
    inside = room_of(module) in DOORS or str(path.relative_to(ROOT)) in TORCH_INSIDE
    heavy = {name for name in imports(path, functions=not inside) if within(name, HEAVY)}
    assert not heavy, f"{module} imports {', '.join(sorted(heavy))}"


def run_python(code):
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, cwd=ROOT)


def test_the_device_side_imports_with_everything_heavy_blocked():
    modules = sorted(filter(is_device_side, MODULES))
    code = f"""
import importlib, importlib.abc, sys
HEAVY = {HEAVY!r} + ("matplotlib", "safetensors", "PIL", "scipy")
class Block(importlib.abc.MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if any(name == heavy or name.startswith(heavy + ".") for heavy in HEAVY):
            raise ImportError(name + " is blocked")
sys.meta_path.insert(0, Block())
for name in {modules!r}:
    importlib.import_module(name)
"""
    done = run_python(code)
    assert done.returncode == 0, done.stderr


def test_the_block_of_the_test_above_holds():
    done = run_python("import sys; sys.modules['torch'] = None; import avgn.network.avgn")
    assert done.returncode != 0 and "torch" in done.stderr


def test_importing_the_package_is_cheap():
    done = run_python("import avgn, runtimes, sys; print(*sys.modules)")
    loaded = done.stdout.split()
    assert done.returncode == 0 and "runtimes" in loaded
    slow = {"torch", "openvino", "av", "matplotlib", "numpy", "rich", "typer"}
    assert not slow & set(loaded)


def test_the_help_needs_no_engine():
    done = run_python("import avgn.cli, sys; print(*sys.modules)")
    loaded = set(done.stdout.split())
    assert done.returncode == 0 and not loaded & {"torch", "openvino", "av", "matplotlib", "numpy"}
