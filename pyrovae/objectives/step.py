"""A training step: a Pyro ELBO and its gradients, recorded once and replayed."""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, TypeAlias

import pyro
import torch
from pyro import poutine
from pyro.infer import (
    ELBO,
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    TraceEnum_ELBO,
)
from pyro.infer.traceenum_elbo import _compute_dice_elbo
from torch import Tensor, nn
from torch.fx import GraphModule
from torch.fx.experimental.proxy_tensor import make_fx
from torch.overrides import TorchFunctionMode

from pyrovae import checks
from pyrovae.handlers import Arguments, Program, forked_rng
from pyrovae.objectives.base import Objective
from pyrovae.objectives.terms import NonFiniteLoss, blame, terms_of, traces_of

__all__ = ["Compile", "ObjectiveFactory", "Step"]

Compile: TypeAlias = Literal["off", "graph"]
ObjectiveFactory: TypeAlias = Callable[[], ELBO]


class Step:
    """Compute loss and gradients for SVI, and add up reconstruction and KL on the way.

    The first batch of each shape runs through Pyro with validation on. The second is recorded below
    autograd as a graph of torch operations (noise included), which later steps replay without Pyro's
    overhead. A recording is used only if, on the third batch, it gives the very gradients that Pyro gives from
    the same noise, and is compared with Pyro again by :meth:`recheck`; a program that cannot be recorded
    runs through Pyro and says so once.

    Args:
        elbo: any of Pyro's ELBOs.
        compile: ``graph`` to record, ``off`` to run Pyro at every step.
        modules: the programs' modules; if a step changes their buffers (as batch normalisation does), which a
            recording would not, it is not recorded. A network's attribute ``weight_decay`` is an L2 penalty,
            weight_decay / 2 times the squared norm of its weights for each datum, in nats; it is added to the
            gradients, not to the loss.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> step = Step(Trace_ELBO(), "off")
        >>> loss = step.loss_and_grads(vae.model, vae.guide, torch.ones(3, 4))
        >>> bool(abs(step.totals[0] - step.totals[1] + loss) < 1e-4)
        True
    """

    def __init__(self, elbo: ELBO, compile: Compile = "graph", modules: Sequence[nn.Module] = ()) -> None:
        if isinstance(elbo, JitTrace_ELBO | JitTraceEnum_ELBO | JitTraceGraph_ELBO | JitTraceMeanField_ELBO):
            raise checks.InputError(
                "objective must not fix the size of a batch, as Pyro's Jit ELBOs do, "
                f"but {type(elbo).__name__} was given; compile=graph records the step of the others"
            )
        self.elbo = elbo
        self.modules = modules
        self.compile = checks.choice("compile", compile, ("off", "graph"))
        checks.integer("num_particles of the objective", elbo.num_particles)
        nesting = elbo.max_plate_nesting
        if not isinstance(nesting, int | float) or not nesting >= 1:
            raise checks.InputError(
                f"max_plate_nesting of the objective must be at least 1, the data's plate, but {nesting!r} was given"
            )
        if isinstance(elbo, TraceEnum_ELBO) and nesting == math.inf:  # the data's plate, and that of the particles
            nesting = 1 + (elbo.vectorize_particles and elbo.num_particles > 1)
        elbo.max_plate_nesting = nesting if nesting == math.inf else int(nesting)  # a command line gives a float
        self.totals = torch.zeros(2)  # reconstruction and KL, nats
        self._seen: set[tuple[Any, ...]] = set()
        self._graphs: dict[tuple[Any, ...], tuple[GraphModule, list[str]]] = {}
        self._unchecked: set[tuple[Any, ...]] = set()
        self._decays = _decays_of(modules)

    def recheck(self) -> None:
        """Compare each recording with Pyro once more, at its next step."""
        self._unchecked = set(self._graphs)

    def loss(self, model: Program, guide: Program, *arguments: Tensor) -> float:
        """Return the loss on a batch in nats; ``arguments`` are x, of shape ``(B, *data_shape)``, and labels if any."""
        return float(self.elbo.loss(model, guide, *arguments))

    def loss_and_grads(self, model: Program, guide: Program, *arguments: Tensor) -> float:
        """Return the loss on a batch in nats and leave its gradients, with weight decay, in the parameters.

        Raises:
            FloatingPointError: if the loss is not finite, before anything is updated.
        """
        loss = self._loss_and_grads(model, guide, *arguments)
        for weight, decay in self._decays:
            if weight.grad is not None:  # the penalty is a datum's, the loss is the batch's
                weight.grad.add_(weight.detach(), alpha=decay * len(arguments[0]))
        return loss

    def _loss_and_grads(self, model: Program, guide: Program, *arguments: Tensor) -> float:
        key = tuple((part.shape, part.dtype, part.device) for part in arguments)
        if key not in self._seen:
            self._seen.add(key)
            before = [(buffer, buffer.clone()) for buffer in self._buffers()]
            noise = torch.get_rng_state()
            try:
                with pyro.validation_enabled(True):
                    loss = self._by_pyro(model, guide, *arguments)
            except ValueError:
                torch.set_rng_state(noise)
                self._by_pyro(model, guide, *arguments)  # if it is the weights that are not finite, this names the site
                raise
            after = self._buffers()
            same = [a is b and torch.equal(b, held) for a, (b, held) in zip(after, before, strict=False)]
            if self.compile == "graph" and (len(after) != len(before) or not all(same)):
                self._give_up("the step changes buffers of the program, as batch normalisation does")
            return loss
        if self.compile == "graph" and key not in self._graphs:
            # It is tried on the next batch: one that holds this batch's values instead of reading them is found out.
            self._record(key, model, guide, *arguments)
            return self._by_pyro(model, guide, *arguments)
        if self.compile == "graph" and key in self._unchecked:
            self._compare(key, model, guide, *arguments)
        return (
            self._by_graph(key, model, guide, *arguments)
            if self.compile == "graph"
            else self._by_pyro(model, guide, *arguments)
        )

    def _buffers(self) -> list[Tensor]:
        return [buffer for module in self.modules for buffer in module.buffers()]

    def _by_pyro(self, model: Program, guide: Program, *arguments: Tensor) -> float:
        with traces_of(self.elbo) as traces:
            loss = float(self.elbo.loss_and_grads(model, guide, *arguments))
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"{loss} at {blame(traces)}")
        self.totals = self.totals.to(arguments[0].device) + terms_of(traces, self.elbo.num_particles)
        return loss

    def _by_graph(self, key: tuple[Any, ...], model: Program, guide: Program, *arguments: Tensor) -> float:
        graph, names = self._graphs[key]
        noise = torch.get_rng_state()
        with torch.no_grad():
            loss, terms, *grads = graph(*arguments)
        value = loss.item()
        if not math.isfinite(value):
            torch.set_rng_state(noise)
            with traces_of(self.elbo) as traces, torch.no_grad():
                self.elbo.loss(model, guide, *arguments)
            raise NonFiniteLoss(f"{value} at {blame(traces)}")
        for name, grad in zip(names, grads, strict=True):
            param = pyro.param(name).unconstrained()  # SVI learns from pyro.param what to update
            param.grad = grad if param.grad is None else param.grad + grad
        self.totals = self.totals.to(arguments[0].device) + terms
        return float(value)

    def _record(self, key: tuple[Any, ...], model: Program, guide: Program, *arguments: Tensor) -> None:
        names: list[str] = []

        def step(*arguments: Tensor) -> tuple[Tensor, ...]:
            loss = torch.zeros((), device=arguments[0].device)
            total: dict[str, Tensor] = {}
            with poutine.trace(param_only=True) as capture, traces_of(self.elbo) as traces:
                for value, surrogate in self._particles(model, guide, arguments):
                    loss = loss + value
                    params = {name: site["value"].unconstrained() for name, site in capture.trace.nodes.items()}
                    # Particle by particle, as Pyro does, so that the sums round alike.
                    grads = torch.autograd.grad(surrogate, list(params.values()), allow_unused=True)
                    for name, grad in zip(params, grads, strict=True):
                        if grad is not None:
                            total[name] = total[name] + grad if name in total else grad
            names[:] = total
            return loss, terms_of(traces, self.elbo.num_particles), *total.values()

        try:
            # Validation asks for the truth of tensors, which a recording does not have.
            with forked_rng(arguments[0].device), pyro.validation_enabled(False), _ItemsStayTensors():
                graph = make_fx(step)(*arguments)
            _simplify(graph)
        except Exception as error:
            self._give_up(f"the step cannot be recorded ({str(error).splitlines()[0] if str(error) else type(error)})")
            return
        self._graphs[key] = graph, names
        self._unchecked.add(key)

    def _particles(self, model: Program, guide: Program, arguments: Arguments) -> Iterator[tuple[Tensor, Tensor]]:
        """Yield value and surrogate of each term of the loss, as the ELBO itself differentiates them."""
        if isinstance(self.elbo, Objective):
            yield self.elbo.losses(model, guide, arguments)
            return
        for pair in self.elbo._get_traces(model, guide, arguments, {}):
            if isinstance(self.elbo, TraceEnum_ELBO):
                with _MasksAreFull():
                    value = surrogate = -_compute_dice_elbo(*pair)
            else:
                value, surrogate = self.elbo._differentiable_loss_particle(*pair)
            yield value / self.elbo.num_particles, surrogate / self.elbo.num_particles

    def _compare(self, key: tuple[Any, ...], model: Program, guide: Program, *arguments: Tensor) -> None:
        self._unchecked.discard(key)
        totals = self.totals
        params = {name: pyro.param(name).unconstrained() for name in self._graphs[key][1]}
        held = {name: param.grad for name, param in params.items()}
        results = []
        for run in (self._by_pyro, lambda *args: self._by_graph(key, *args)):
            for param in params.values():
                param.grad = None
            with forked_rng(arguments[0].device):
                loss = run(model, guide, *arguments)
            results.append((loss, {name: param.grad for name, param in params.items()}))
        self.totals = totals
        for name, param in params.items():
            param.grad = held[name]
        (loss, grads), (recorded_loss, recorded_grads) = results
        # Pyro adds the sites' terms up as Python floats, the graph as tensors: only their rounding may differ.
        same = math.isclose(loss, recorded_loss, rel_tol=1e-4)
        same &= all(grad is not None and torch.equal(grad, recorded_grads[name]) for name, grad in grads.items())
        if not same:
            self._give_up("the recorded step does not repeat what Pyro computes from the same noise")

    def _give_up(self, reason: str) -> None:
        self.compile = "off"
        self._graphs.clear()
        warnings.warn(f"{reason}; training goes on through Pyro, without recording", stacklevel=2)


def _decays_of(modules: Sequence[nn.Module]) -> list[tuple[Tensor, float]]:
    """Pair each weight (biases are none) with the ``weight_decay`` of its network, where that has any."""
    decays: dict[Tensor, float] = {}
    for owner in modules:
        for module in owner.modules():  # the outer ones come first, so that the innermost decides
            decay = getattr(module, "weight_decay", 0.0)
            if isinstance(decay, int | float) and decay > 0:
                decays |= {weight: decay for weight in module.parameters() if weight.dim() > 1}
    return list(decays.items())


class _ItemsStayTensors(TorchFunctionMode):
    """Let ``Tensor.item`` return the detached tensor: Pyro asks for losses as numbers, a graph has none."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.item:
            return args[0].detach()
        return func(*args, **(kwargs or {}))


class _MasksAreFull(TorchFunctionMode):
    """Let every tensor be true: Pyro asks whether all enumerated values have some probability, to skip the others."""

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        if func is torch.Tensor.__bool__:
            return True
        return func(*args, **(kwargs or {}))


def _simplify(graph: GraphModule) -> None:
    """Drop the views that only autograd needed, and what nothing uses."""
    for node in graph.graph.nodes:
        if node.target in (torch.ops.aten.detach.default, torch.ops.aten.alias.default):
            node.replace_all_uses_with(node.args[0])
    graph.graph.eliminate_dead_code()
    graph.recompile()
