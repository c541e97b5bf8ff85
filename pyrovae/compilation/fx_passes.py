"""Rewriting of a recorded graph before Inductor compiles it."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from pyrovae.linear_kernels import onednn_linear, prefers_onednn

__all__ = ["for_inductor"]

_aten = torch.ops.aten


def for_inductor(graph: Graph) -> None:
    r"""Mark in-place changes of the graph; on CPU in float32, replace slow operations by faster ones of equal result.

    Matrix products are computed by oneDNN where that is faster, see :mod:`pyrovae.linear_kernels`. :math:`\tanh x` is
    computed as :math:`2 \sigma(2 x) - 1`, and log1p in the binary cross-entropy as
    :math:`\log(1 + e^{-|l|})`; these have faster kernels and differ by up to 2e-7.
    """
    for node in list(graph.nodes):
        if (
            node.target is _aten.native_batch_norm.default
        ):  # its schema does not declare the update of the running statistics
            node.target = _aten._native_batch_norm_legit.default
        result: Any = node.meta.get("val")
        if not isinstance(result, Tensor) or result.dtype != torch.float32 or result.device.type != "cpu":
            continue
        change = _CHANGES.get(node.target)
        with graph.inserting_before(node):
            faster = None if change is None else change(graph, node)
        if faster is not None:
            faster.meta = dict(node.meta)  # the next operation's change reads the shape
            node.replace_all_uses_with(faster)
            graph.erase_node(node)


def _tanh(graph: Graph, node: Node) -> Node:
    x = graph.call_function(_aten.mul.Tensor, (node.args[0], 2.0))
    double = graph.call_function(_aten.mul.Tensor, (graph.call_function(_aten.sigmoid.default, (x,)), 2.0))
    return graph.call_function(_aten.sub.Tensor, (double, 1.0))


def _cross_entropy(graph: Graph, node: Node) -> Node | None:
    logits, x, *others = node.args
    if others != [None, None, 0]:  # weights or a reduction
        return None
    size = graph.call_function(_aten.abs.default, (logits,))
    small = graph.call_function(_aten.exp.default, (graph.call_function(_aten.neg.default, (size,)),))
    rest = graph.call_function(_aten.log.default, (graph.call_function(_aten.add.Tensor, (small, 1.0)),))
    linear = graph.call_function(_aten.mul.Tensor, (graph.call_function(_aten.sub.Tensor, (x, 0.5)), logits))
    half = graph.call_function(_aten.mul.Tensor, (size, 0.5))
    return graph.call_function(_aten.sub.Tensor, (graph.call_function(_aten.add.Tensor, (half, rest)), linear))


def _product(graph: Graph, node: Node) -> Node | None:
    *bias, left, right = node.args
    assert isinstance(left, Node)
    assert isinstance(right, Node)
    if bias and (not isinstance(bias[0], Node) or bias[0].meta["val"].shape != node.meta["val"].shape[1:]):
        return None  # not the product of a layer
    if node.kwargs or not prefers_onednn(left.meta["val"], right.meta["val"].t()):
        return None
    transposed = graph.call_function(_aten.t.default, (right,))
    return graph.call_function(_onednn_linear(), (left, transposed, bias[0] if bias else None))


_CHANGES: dict[Any, Callable[[Graph, Node], Node | None]] = {
    _aten.tanh.default: _tanh,
    _aten.binary_cross_entropy_with_logits.default: _cross_entropy,
    _aten.addmm.default: _product,
    _aten.mm.default: _product,
}


def _onednn_linear() -> Any:
    """Return :math:`x W^T + b` by oneDNN as an operation that Inductor keeps; its own version needs a constant W."""
    _library()
    return torch.ops.pyrovae.onednn_linear.default


@cache  # operations exist only as long as their library
def _library() -> torch.library.Library:
    library = torch.library.Library("pyrovae", "FRAGMENT")
    library.define("onednn_linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")

    def shaped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty(x.shape[0], weight.shape[0])

    library.impl("onednn_linear", onednn_linear, "CPU")
    torch.library.register_fake("pyrovae::onednn_linear", shaped, lib=library)
    return library
