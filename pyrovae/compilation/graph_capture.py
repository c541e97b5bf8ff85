"""Recording of a function as a graph of torch operations, with replay, compilation and CUDA graphs."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch._guards import TracingContext, tracing
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.fx import Graph, GraphModule, Node
from torch.fx.experimental.proxy_tensor import make_fx

from pyrovae.compilation.fx_passes import for_inductor

__all__ = ["Recording", "Signature", "signature_of"]

Signature: TypeAlias = tuple[tuple[torch.Size, tuple[int, ...], torch.dtype, torch.device], ...]
"""Shapes, strides, types and devices of the arguments of a recording."""

_aten = torch.ops.aten
_Run: TypeAlias = Callable[..., tuple[Tensor, ...]]


class Recording:
    """A function of tensors, recorded as a graph of torch operations, with its gradients and noise.

    Tensors that the function uses besides its arguments (parameters, buffers, a weight of the KL) are inputs of the
    graph, so that each call uses their current values. The graph changes the buffers that the function changes.

    Args:
        function: function of tensors that returns a tuple of tensors; it may compute gradients.
        arguments: arguments to record it with; later arguments must have the same shapes.

    Raises:
        ValueError: if shapes of its results depend on values, as those of ``nonzero`` do.

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
        self._graph, self._constants = _record(function, arguments)
        self._run: _Run = self._graph.forward
        self._compiled: _Run | None = None
        self._compiled_constants = self._constants
        self._device = arguments[0].device

    def __call__(self, *arguments: Tensor, compiled: bool = False) -> tuple[Tensor, ...]:
        """Return the function's results, without a graph for gradients.

        Args:
            arguments: arguments with the recorded shapes.
            compiled: True to run the compiled graph, if there is one.
        """
        run, held = self._run, self._constants
        if compiled and self._compiled is not None:
            run, held = self._compiled, self._compiled_constants
        with torch.no_grad(), self._without_autocast():
            return run(*arguments, *held)

    @property
    def is_compiled(self) -> bool:
        """True if the graph was compiled."""
        return self._compiled is not None

    def compile(self, *arguments: Tensor, instead: Callable[..., tuple[Tensor, ...]] | None = None) -> None:
        """Compile the graph by Inductor; on CPU, float32 matrix products are computed by the faster library.

        The noise is the same; other numbers are the same up to rounding.

        Args:
            arguments: example arguments.
            instead: a function to compile in place of the recorded one, which must do the same and may do more.

        Raises:
            Exception: any error of torch, for example without a C++ compiler.
        """
        from torch._inductor import compile as inductor  # takes a second to import
        from torch.fx.experimental.symbolic_shapes import ShapeEnv

        plain, held = (self._graph, self._constants) if instead is None else _record(instead, arguments)
        graph = GraphModule(plain, _copied(plain.graph))
        for_inductor(graph.graph)
        _simplify(graph.graph)
        graph.recompile()
        log = logging.getLogger("torch.utils.cpp_extension")  # it reports that there is no GPU
        level = log.level
        log.setLevel(logging.ERROR)
        try:
            # Inductor keeps what it compiled on disk only if the shapes have an environment.
            fake = FakeTensorMode(shape_env=ShapeEnv(), static_shapes=True)
            with torch.no_grad(), self._without_autocast(), tracing(TracingContext(fake)):
                run = inductor(graph, [*arguments, *held], options={"fallback_random": True})
                run(*arguments, *held)  # the first call compiles
        finally:
            log.setLevel(level)
        self._compiled, self._compiled_constants = run, held

    def forget(self) -> None:
        """Discard the compiled graph."""
        self._compiled = None

    def capture(self, *arguments: Tensor) -> None:
        """Capture the kernels on a GPU as a CUDA graph; results are then overwritten by the next call.

        Args:
            arguments: example arguments.

        Raises:
            Exception: any error of torch, for example if the host takes part in the computation.
        """
        with torch.no_grad(), self._without_autocast():
            if self._compiled is None:
                self._run = _capture(self._run, arguments, self._constants)
            else:
                self._compiled = _capture(self._compiled, arguments, self._compiled_constants)

    def _without_autocast(self) -> AbstractContextManager[Any]:
        kind = self._device.type  # casts are part of the graph
        return torch.autocast(kind, enabled=False) if torch.is_autocast_enabled(kind) else nullcontext()


def signature_of(arguments: Sequence[Tensor]) -> Signature:
    """Return what arguments must have in common to be given to the same recording."""
    return tuple((part.shape, part.stride(), part.dtype, part.device) for part in arguments)


def _capture(run: _Run, arguments: Sequence[Tensor], held: Sequence[Tensor]) -> _Run:
    fixed = [argument.clone() for argument in arguments]
    side = torch.cuda.Stream()
    side.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(side):  # libraries initialize themselves, which must not be captured
        run(*fixed, *held)
    torch.cuda.current_stream().wait_stream(side)
    graph = torch.cuda.CUDAGraph()
    # Threads of the communication library may use other devices at the same time.
    with torch.cuda.graph(graph, capture_error_mode="thread_local"):
        results = tuple(run(*fixed, *held))

    def replay(*inputs: Tensor) -> tuple[Tensor, ...]:
        for slot, value in zip(fixed, inputs, strict=False):  # tensors other than arguments stay at their addresses
            slot.copy_(value)
        graph.replay()
        return results

    return replay


def _record(
    function: Callable[..., tuple[Tensor, ...]], arguments: Sequence[Tensor]
) -> tuple[GraphModule, list[Tensor]]:
    # One mode for the shapes of all results: by itself, make_fx makes one for each, which takes a third of its time.
    with tracing(TracingContext(FakeTensorMode())):
        graph = make_fx(function)(*arguments)
    if any(map(_has_data_dependent_shape, graph.graph.nodes)):
        raise ValueError("the shapes of what it computes depend on values")
    lifted, held = _lift_constants(graph)
    _simplify(lifted)
    return GraphModule({}, lifted), held


def _lift_constants(graph: GraphModule) -> tuple[Graph, list[Tensor]]:
    """Turn the constant tensors of a graph into further inputs, and return these tensors too."""
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
                names[node.target].meta = {"val": getattr(graph, node.target), **node.meta}  # torch 2.6 leaves it out
            env[node] = names[node.target]
    for node in nodes:
        if node not in env:
            env[node] = new.node_copy(node, env.__getitem__)
    return new, [getattr(graph, name) for name in names]


def _copied(graph: Graph) -> Graph:
    new = Graph()
    result = new.graph_copy(graph, {})
    new.output(result)
    return new


def _has_data_dependent_shape(node: Node) -> bool:
    # Masks as indices are allowed, since results are usually put back to the same places, as in splines.
    return torch.Tag.dynamic_output_shape in getattr(node.target, "tags", ()) and node.target is not _aten.index.Tensor


def _simplify(graph: Graph) -> None:
    """Remove operations that only autograd needed, views that change no shape, and unused nodes."""
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
