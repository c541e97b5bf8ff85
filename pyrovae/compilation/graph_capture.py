"""A function of tensors as a graph of torch operations: recorded below autograd, replayed, compiled, captured."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.compilation.fx_passes import for_inductor

__all__ = ["Recording"]

_aten = torch.ops.aten
_Run: TypeAlias = Callable[..., tuple[Tensor, ...]]


class Recording:
    """Run a function once and keep the torch operations that it comes to, gradients and noise included.

    Every tensor that the function reads without being given it (parameters, buffers, a weight of the KL) is an input of
    the graph, so that its value is that of the moment; buffers that the function changes are changed by the graph.

    Args:
        function: of tensors, to a tuple of tensors; it may differentiate.
        arguments: to record it with. Others must have their shapes.

    Raises:
        ValueError: if the shapes of what it computes depend on values, as those of ``nonzero`` do.

    Example:
        >>> weight = torch.ones(3, requires_grad=True)
        >>> def square(x):
        ...     y = (weight * x).square().sum()
        ...     return y, *torch.autograd.grad(y, [weight])
        >>> recording = Recording(square, (torch.zeros(3),))
        >>> recording(torch.arange(3.0))
        (tensor(5.), tensor([0., 2., 8.]))
    """

    def __init__(self, function: Callable[..., tuple[Tensor, ...]], arguments: Sequence[Tensor]) -> None:
        self._graph, self._held = _recorded(function, arguments)
        self._run: _Run = self._graph.forward
        self._compiled: _Run | None = None
        self._compiled_held = self._held
        self._device = arguments[0].device

    def __call__(self, *arguments: Tensor, compiled: bool = False) -> tuple[Tensor, ...]:
        """Return what the function would, without its graph of gradients.

        Args:
            arguments: of the shapes that it was recorded with.
            compiled: whether to run what :meth:`compile` has made, if it has.
        """
        run, held = self._run, self._held
        if compiled and self._compiled is not None:
            run, held = self._compiled, self._compiled_held
        with torch.no_grad(), self._without_autocast():
            return run(*arguments, *held)

    @property
    def is_compiled(self) -> bool:
        """Whether it was compiled."""
        return self._compiled is not None

    def compile(self, *arguments: Tensor, instead: Callable[..., tuple[Tensor, ...]] | None = None) -> None:
        """Have Inductor compile the graph; on CPU, matrix products in float32 are oneDNN's.

        The noise is the same, all other numbers are the same to rounding.

        Args:
            arguments: such as it will be called with.
            instead: a function that does the same and more, to be compiled in its place.

        Raises:
            Exception: whatever torch raises where it cannot, such as without a C++ compiler.
        """
        from torch._inductor import compile as inductor  # takes a second to import

        plain, held = (self._graph, self._held) if instead is None else _recorded(instead, arguments)
        graph = GraphModule(plain, _copied(plain.graph))
        for_inductor(graph.graph)
        _simplify(graph.graph)
        graph.recompile()
        log = logging.getLogger("torch.utils.cpp_extension")  # says that there is no GPU
        level = log.level
        log.setLevel(logging.ERROR)
        try:
            with torch.no_grad(), self._without_autocast():
                run = inductor(graph, [*arguments, *held], options={"fallback_random": True})
                run(*arguments, *held)  # is compiled now
        finally:
            log.setLevel(level)
        self._compiled, self._compiled_held = run, held

    def forget(self) -> None:
        """Forget what was compiled."""
        self._compiled = None

    def capture(self, *arguments: Tensor) -> None:
        """Capture the kernels on a GPU as a CUDA graph; what it returns is then overwritten by the next call.

        Args:
            arguments: such as it will be called with.

        Raises:
            Exception: whatever torch raises where it cannot, such as where the host takes part.
        """
        with torch.no_grad(), self._without_autocast():
            if self._compiled is None:
                self._run = _captured(self._run, arguments, self._held)
            else:
                self._compiled = _captured(self._compiled, arguments, self._compiled_held)

    def _without_autocast(self) -> AbstractContextManager[Any]:
        kind = self._device.type  # what it casts is in the graph
        return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def _captured(run: _Run, arguments: Sequence[Tensor], held: Sequence[Tensor]) -> _Run:
    fixed = [argument.clone() for argument in arguments]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # lets libraries set themselves up, which must not be captured
        run(*fixed, *held)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Threads of the library that connects processes may ask for other devices meanwhile.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = tuple(run(*fixed, *held))

    def replay(*inputs: Tensor) -> tuple[Tensor, ...]:
        for slot, value in zip(fixed, inputs, strict=False):  # those held are at addresses that the graph knows
            slot.copy_(value)
        graph.replay()
        return results

    return replay


def _recorded(
    function: Callable[..., tuple[Tensor, ...]], arguments: Sequence[Tensor]
) -> tuple[GraphModule, list[Tensor]]:
    graph = make_fx(function)(*arguments)
    if any(map(_has_a_shape_by_values, graph.graph.nodes)):
        raise ValueError("the shapes of what it computes depend on values")
    lifted, held = _lifted(graph)
    _simplify(lifted.graph)
    lifted.recompile()
    return lifted, held


def _lifted(graph: GraphModule) -> tuple[GraphModule, list[Tensor]]:
    """Turn the tensors that a graph holds into further inputs, and return these tensors too."""
    new = Graph()
    env: dict[Node, Node] = {}
    names: dict[str, Node] = {}
    nodes = list(graph.graph.nodes)
    for node in nodes:
        if node.op == "placeholder":
            env[node] = new.node_copy(node)
    for node in nodes:
        if node.op == "get_attr":
            if node.target not in names:
                names[node.target] = new.placeholder(f"held_{len(names)}")
                names[node.target].meta = dict(node.meta)
            env[node] = names[node.target]
    for node in nodes:
        if node not in env:
            env[node] = new.node_copy(node, env.__getitem__)
    return GraphModule({}, new), [getattr(graph, name) for name in names]


def _copied(graph: Graph) -> Graph:
    new = Graph()
    result = new.graph_copy(graph, {})
    new.output(result)
    return new


def _has_a_shape_by_values(node: Node) -> bool:
    # A mask as an index is common, where what is taken out goes back to the same places, as in splines.
    return torch.Tag.dynamic_output_shape in getattr(node.target, "tags", ()) and node.target is not _aten.index.Tensor


def _simplify(graph: Graph) -> None:
    """Drop what only autograd needed, views that change no shape, and what nothing uses."""
    for node in graph.nodes:
        if node.target in (_aten.detach.default, _aten.alias.default) or _is_same_shape(node):
            node.replace_all_uses_with(node.args[0])
        elif node.target is _aten.t.default and getattr(node.args[0], "target", None) is _aten.t.default:
            node.replace_all_uses_with(node.args[0].args[0])
    graph.eliminate_dead_code()


def _is_same_shape(node: Node) -> bool:
    if node.target not in (_aten.view.default, _aten.expand.default):
        return False
    before, after = node.args[0].meta.get("tensor_meta"), node.meta.get("tensor_meta")  # type: ignore[union-attr] # a view has an input
    return before is not None and after is not None and before.shape == after.shape
