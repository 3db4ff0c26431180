"""Quantise-dequantise pairs as XNNPACK wants them in an exported program: around every operator, one for each user."""

from __future__ import annotations

import torch
import torch.ao.quantization.fx._decomposed  # registers the quantized_decomposed operators
from torch.fx import Graph, Node

_Q = torch.ops.quantized_decomposed
_QUANTIZE, _DEQUANTIZE = _Q.quantize_per_tensor.default, _Q.dequantize_per_tensor.default
_ATEN = torch.ops.aten
# Operators that only move or choose values: what they give has the step of what they take, and NNCF says so once.
KEEPS = {
    _ATEN.view.default,
    _ATEN.reshape.default,
    _ATEN.flatten.using_ints,
    _ATEN.unsqueeze.default,
    _ATEN.slice.Tensor,
    _ATEN.permute.default,
    _ATEN.max_pool2d.default,
}

_SAME = {_ATEN.alias.default, _ATEN.detach.default}  # nothing happens there


def without_aliases(graph: Graph) -> None:
    """Let users of an alias (such as a `detach`) have what it is an alias of, in place: it hides a pair from them."""
    for node in list(graph.nodes):
        if node.target in _SAME:
            source = node.args[0]
            assert isinstance(source, Node)
            node.replace_all_uses_with(source)
            graph.erase_node(node)


def around_every_operator(graph: Graph) -> None:
    """Repeat a pair after each operator of KEEPS that takes a dequantised value, in place."""
    for node in list(graph.nodes):
        source = node.args[0] if node.target in KEEPS else None
        users = [user for user in node.users if user.op != "output" and user.target != _QUANTIZE]
        if users and isinstance(source, Node) and source.target == _DEQUANTIZE:
            taken = source.args[0]
            assert isinstance(taken, Node)
            with graph.inserting_after(node):
                stored = _copy(graph, taken, node)
                stored.args = (node, *stored.args[1:])
            with graph.inserting_after(stored):
                real = _copy(graph, source, node)
                real.args = (stored, *real.args[1:])
            for user in users:
                user.replace_input_with(node, real)


def one_for_each_user(graph: Graph) -> None:
    """Give each user of a dequantised value a dequantisation of its own, in place: a residual add would close a circle
    between the pieces that are handed over otherwise.
    """
    for node in list(graph.nodes):
        if node.target == _DEQUANTIZE:
            for user in [user for user in node.users if user.op != "output"][1:]:
                with graph.inserting_before(user):
                    user.replace_input_with(node, _copy(graph, node, node))


def _copy(graph: Graph, node: Node, like: Node) -> Node:
    """`node` once more; what passes has the shape of `like`."""
    assert callable(node.target)
    made = graph.call_function(node.target, node.args, node.kwargs)
    value = like.meta["val"]
    made.meta = {**like.meta, "val": value.to(node.meta["val"].dtype)}
    return made


def settle(program: torch.export.ExportedProgram) -> None:
    """All of it, in place; a program without pairs stays as it is, but for aliases."""
    without_aliases(program.graph)
    around_every_operator(program.graph)
    one_for_each_user(program.graph)
    program.graph_module.recompile()
