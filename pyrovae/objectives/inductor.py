"""What a recorded graph is changed to before Inductor compiles it."""

from __future__ import annotations

from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.fx import Graph, Node

from pyrovae.products import onednn_linear

__all__ = ["for_inductor"]

_aten = torch.ops.aten


def for_inductor(graph: Graph) -> None:
    r"""Let the graph say what it changes; on CPU, have oneDNN take products of float32 matrices, and replace tanh.

    On processors that are not Intel's, oneDNN takes half of the time of the library that torch calls for products.
    Of :math:`\tanh x = 2 \sigma(2 x) - 1` torch has a slow kernel on the left and a fast one on the right; they differ
    by 2e-7.
    """
    for node in list(graph.nodes):
        if node.target is _aten.native_batch_norm.default:  # whose schema hides that it changes the running statistics
            node.target = _aten._native_batch_norm_legit.default
        result: Any = node.meta.get("val")
        if not isinstance(result, Tensor) or result.dtype != torch.float32 or result.device.type != "cpu":
            continue
        with graph.inserting_before(node):
            if node.target is _aten.tanh.default:
                half = graph.call_function(_aten.sigmoid.default, (_scaled(graph, node.args[0], 2.0),))
                faster = graph.call_function(_aten.sub.Tensor, (_scaled(graph, half, 2.0), 1.0))
            elif node.target in (_aten.addmm.default, _aten.mm.default) and _is_linear(node):
                *bias, left, right = node.args
                turned = graph.call_function(_aten.t.default, (right,))
                faster = graph.call_function(_onednn_linear(), (left, turned, bias[0] if bias else None))
            else:
                continue
        node.replace_all_uses_with(faster)
        graph.erase_node(node)


def _scaled(graph: Graph, node: Any, factor: float) -> Node:
    return graph.call_function(_aten.mul.Tensor, (node, factor))


def _is_linear(node: Node) -> bool:
    """Tell whether a product is one that a linear layer takes: what is added is a bias, if anything."""
    bias = node.args[0] if node.target is _aten.addmm.default else None
    plain = bias is None or (isinstance(bias, Node) and bias.meta["val"].shape == node.meta["val"].shape[1:])
    return plain and not node.kwargs and torch.backends.mkldnn.is_available()


def _onednn_linear() -> Any:
    """Return :math:`x W^T + b` by oneDNN as an operation that Inductor leaves as it is: its own wants W constant."""
    _library()
    return torch.ops.pyrovae.onednn_linear.default


@cache  # a library that is forgotten takes its operations along
def _library() -> torch.library.Library:
    library = torch.library.Library("pyrovae", "FRAGMENT")
    library.define("onednn_linear(Tensor x, Tensor weight, Tensor? bias) -> Tensor")

    def shaped(x: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
        return x.new_empty(x.shape[0], weight.shape[0])

    library.impl("onednn_linear", onednn_linear, "CPU")
    torch.library.register_fake("pyrovae::onednn_linear", shaped, lib=library)
    return library
