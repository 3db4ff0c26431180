"""A run becomes ExecuTorch programs: `python export/to_executorch.py [--run RUN] [--out BUNDLE] [--clips CLIP …]`.

One .pte a stage with the graphs as named methods: glance.pte (glance, select, logmel), focus.pte (focus, classify).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

if __package__ in (None, ""):  # started as a script from a checkout
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import torch
from torch.export.graph_signature import InputKind

from avgn.contract import HEAVY
from avgn.training.macs import count
from export.common import Converted, Piece, Target
from export.graphs import STAGE_FILES
from export.mil.tools import quiet
from export.pairs import settle
from export.parity import enough_int8
from export.pte import found_precision, int8_macs, read_pte


def convert(
    pieces: Mapping[str, Piece],
    partitioner: Callable[[], Any],
    found: Callable[[Any, str], str] = found_precision,
) -> Iterator[dict[str, Converted]]:
    """Each stage's file, its graphs lowered to one delegate as far as that takes them.

    `found` reads from a written program in which precision it holds a method.
    """
    for stage, graphs in STAGE_FILES.items():
        present = [name for name in graphs if name in pieces]
        data, notes = lower({name: pieces[name] for name in present}, partitioner)
        program = read_pte(data)
        yield {name: Converted({f"{stage}.pte": data}, found(program, name), notes[name]) for name in present}


def convert_int8(pieces: Mapping[str, Piece]) -> Iterator[dict[str, Converted]]:
    """The same for XNNPACK, which must do the work of the heavy graphs in int8. Raises ProofError otherwise."""
    quantised = {name for name, piece in pieces.items() if name in HEAVY or piece.quantised}
    for piece in pieces.values():
        settle(piece.program)
    for done in convert(pieces, xnnpack):
        for name in set(done) & quantised:
            (data,) = done[name].files.values()
            graph = pieces[name].graph
            share = int8_macs(read_pte(data), name) / max(count(graph.module, *graph.example()), 1)
            notes = done[name].notes | enough_int8("executorch", name, share)
            done[name] = replace(done[name], found="int8", notes=notes)
        yield done


def lower(pieces: Mapping[str, Piece], partitioner: Callable[[], Any]) -> tuple[bytes, dict[str, dict[str, str]]]:
    """The .pte with `pieces` as methods, and of each method how much of it the delegate took."""
    import executorch.kernels.quantized  # noqa: F401  (operators on int8 that the delegate leaves outside)
    from executorch.exir import to_edge_transform_and_lower

    programs = {name: with_plain_buffers(without_unused_buffers(piece.program)) for name, piece in pieces.items()}
    with quiet():
        edge = to_edge_transform_and_lower(programs, partitioner=[partitioner()])
        notes = {name: delegated(edge.exported_program(name).graph_module) for name in pieces}
        return bytes(edge.to_executorch().buffer), notes


def without_unused_buffers(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program without buffers that nothing reads: ExecuTorch would store those of the whole network in each file.

    Int8 weights are buffers; unused parameters it drops itself.
    """
    nodes = {node.name: node for node in program.graph.nodes if node.op == "placeholder"}
    specs = program.graph_signature.input_specs
    for spec in [spec for spec in specs if spec.kind is InputKind.BUFFER and not nodes[spec.arg.name].users]:
        specs.remove(spec)
        program.graph.erase_node(nodes[spec.arg.name])
        (program.state_dict if spec.persistent else program.constants).pop(spec.target)
    program.graph_module.recompile()
    return program


def with_plain_buffers(program: torch.export.ExportedProgram) -> torch.export.ExportedProgram:
    """The program with every buffer contiguous and in its state: ExecuTorch 1.4's passes fail on any other."""
    for spec in program.graph_signature.input_specs:
        if spec.kind is InputKind.BUFFER and spec.persistent is False and spec.target:
            program.state_dict[spec.target] = program.constants.pop(spec.target).contiguous()
            spec.persistent = True
    for node in program.graph.nodes:
        if node.op == "placeholder" and "val" in node.meta:
            node.meta["val"] = node.meta["val"].contiguous()
    return program


def delegated(graph: Any) -> dict[str, str]:
    """The share of a lowered graph's operations that the delegate took, and in how many pieces."""
    from executorch.devtools.backend_debug import get_delegation_info

    info = get_delegation_info(graph)
    total = info.num_delegated_nodes + info.num_non_delegated_nodes
    left = sorted(name for name, item in info.delegation_by_operator.items() if item.non_delegated)
    notes = {"delegated": f"{info.num_delegated_nodes} of {total} in {info.num_delegated_subgraphs}"}
    return notes | ({"outside": " ".join(left)} if left else {})


def xnnpack() -> Any:
    """What XNNPACK (the CPU of phones and PCs) takes."""
    from executorch.backends.xnnpack.partition.xnnpack_partitioner import XnnpackPartitioner

    return XnnpackPartitioner()


TOOLS = ("executorch", "torchao")
TARGETS = {
    "fp32": Target("executorch", "fp32", partial(convert, partitioner=xnnpack), TOOLS),
    "int8": Target("executorch", "int8", convert_int8, (*TOOLS, "nncf"), spelling="folded"),
}

if __name__ == "__main__":
    from export.main import main

    main("executorch")
