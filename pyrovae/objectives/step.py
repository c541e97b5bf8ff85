"""A training step: a Pyro ELBO and its gradients, recorded once and replayed."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import Any, Literal, TypeAlias, get_args

import pyro
import torch
from pyro.infer import (
    ELBO,
    JitTrace_ELBO,
    JitTraceEnum_ELBO,
    JitTraceGraph_ELBO,
    JitTraceMeanField_ELBO,
    TraceEnum_ELBO,
)
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.handlers import Arguments, Program, forked_rng
from pyrovae.objectives.agreement import Results
from pyrovae.objectives.differentiated import differentiated, recordable
from pyrovae.objectives.losses import Losses
from pyrovae.objectives.modules import decays_of, state_in_python
from pyrovae.objectives.noise import generators, set_generators
from pyrovae.objectives.recording import Recording
from pyrovae.objectives.terms import NonFiniteLoss, blame, terms_of, traces_of

__all__ = ["Compile", "ObjectiveFactory", "Step"]

Compile: TypeAlias = Literal["off", "graph", "inductor"]
ObjectiveFactory: TypeAlias = Callable[[], ELBO]
_Key: TypeAlias = tuple[Any, ...]  # shapes, strides, types and devices of the arguments

_ROUNDING = 0.01  # of the norm of all gradients, by which compiled ones may differ: far more than in float32
_UNCOMPILED = 2  # steps of an epoch, which a resumed training runs through Pyro


class Step:
    """Compute loss and gradients for SVI, and add up reconstruction and KL on the way.

    The first batch of each shape runs through Pyro with validation on. The second is recorded below
    autograd as a graph of torch operations (noise included), which later steps replay without Pyro's
    overhead. A recording is used only if, on the third batch, it gives the very gradients that Pyro gives from
    the same noise, and changes buffers in the same way, and is compared with Pyro again by :meth:`recheck`; a program
    that cannot be recorded runs through Pyro and says so once. On a GPU a recording becomes one CUDA graph.

    Args:
        elbo: any of Pyro's ELBOs.
        compile: ``graph`` to record; ``inductor`` to have the recording compiled too, whose gradients are the same to
            rounding; ``off`` to run Pyro at every step.
        modules: the programs' modules, whose buffers a step may change, as batch normalisation does. A network's
            attribute ``weight_decay`` is an L2 penalty,
            weight_decay / 2 times the squared norm of its weights for each datum, in nats; it is added to the
            gradients, not to the loss.

    Attributes:
        totals: reconstruction and KL, summed over all data since it was last set, in nats.
        losses: that were not looked at yet.

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
        self.compile = checks.choice("compile", compile, get_args(Compile))
        checks.integer("num_particles of the objective", elbo.num_particles)
        nesting = elbo.max_plate_nesting
        if not isinstance(nesting, int | float) or not nesting >= 1:
            raise checks.InputError(
                f"max_plate_nesting of the objective must be at least 1, the data's plate, but {nesting!r} was given"
            )
        if isinstance(elbo, TraceEnum_ELBO) and nesting == math.inf:  # the data's plate, and that of the particles
            nesting = 1 + (elbo.vectorize_particles and elbo.num_particles > 1)
        elbo.max_plate_nesting = nesting if nesting == math.inf else int(nesting)  # a command line gives a float
        self.totals = torch.zeros(2)
        self.losses = Losses()
        self._seen: set[_Key] = set()
        self._graphs: dict[_Key, tuple[Recording, list[str]]] = {}
        self._steps: Counter[_Key] = Counter()
        self._unchecked: set[_Key] = set()
        self._decays = decays_of(modules)

    def recheck(self) -> None:
        """Begin an epoch: compare each recording with Pyro once more, at its next step."""
        self._unchecked = set(self._graphs)
        self._steps.clear()

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
        key = tuple((part.shape, part.stride(), part.dtype, part.device) for part in arguments)
        self._steps[key] += 1
        if key not in self._seen:
            self._seen.add(key)
            return self._validated(model, guide, *arguments)
        if self.compile != "off" and key not in self._graphs:
            # It is tried on the next batch: one that holds this batch's values instead of reading them is found out.
            self._record(key, model, guide, *arguments)
            return self._by_pyro(model, guide, *arguments)
        if key in self._unchecked and (self._steps[key] > _UNCOMPILED or not self._graphs[key][0].is_compiled):
            self._compare(key, model, guide, *arguments)
        if self.compile == "off":
            return self._by_pyro(model, guide, *arguments)
        if self.compile == "inductor" and self._steps[key] > _UNCOMPILED and not self._graphs[key][0].is_compiled:
            self._compile(key, *arguments)
        return self._by_graph(key, model, guide, *arguments)

    def _validated(self, model: Program, guide: Program, *arguments: Tensor) -> float:
        """Run a first batch through Pyro, which looks at every value."""
        before, state = self._buffers(), state_in_python(self.modules)
        noise = torch.get_rng_state()
        try:
            with pyro.validation_enabled(True):
                loss = self._by_pyro(model, guide, *arguments)
        except ValueError:
            torch.set_rng_state(noise)
            self._by_pyro(model, guide, *arguments)  # if it is the weights that are not finite, this names the site
            raise
        if self.compile != "off" and [id(buffer) for buffer in before] != [id(buffer) for buffer in self._buffers()]:
            self._give_up("the step replaces buffers of the program by others, instead of changing them")
        elif self.compile != "off" and state != state_in_python(self.modules):
            self._give_up("the step changes attributes of the program's modules that are no buffers")
        return loss

    def _buffers(self) -> list[Tensor]:
        return [buffer for module in self.modules for buffer in module.buffers()]

    def _by_pyro(self, model: Program, guide: Program, *arguments: Tensor) -> float:
        self.losses.settle(since=1)
        with traces_of(self.elbo) as traces:
            loss = float(self.elbo.loss_and_grads(model, guide, *arguments))
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"{loss} at {blame(traces)}")
        self.totals = self.totals.to(arguments[0].device) + terms_of(traces, self.elbo.num_particles)
        return loss

    def _by_graph(self, key: _Key, model: Program, guide: Program, *arguments: Tensor) -> float:
        recording, names = self._graphs[key]
        noise = generators(arguments[0].device)
        try:
            loss, terms, *grads = recording(*arguments, compiled=self._steps[key] > _UNCOMPILED)
        except RuntimeError as error:  # shapes within may hang on values, and those of this batch be others
            set_generators(arguments[0].device, noise)
            self._give_up(f"the recorded step cannot be repeated ({_first_line(error)})")
            return self._by_pyro(model, guide, *arguments)
        size = sum(part.nbytes for part in arguments)
        value = self.losses.add(loss, partial(self._blame, model, guide, arguments, noise), size)
        for name, grad in zip(names, grads, strict=True):
            param = pyro.param(name).unconstrained()  # SVI learns from pyro.param what to update
            param.grad = grad if param.grad is None else param.grad + grad
        self.totals = self.totals.to(arguments[0].device) + terms
        return value

    def _blame(self, model: Program, guide: Program, arguments: Arguments, noise: list[Tensor]) -> str:
        """Run a batch with its noise again, and name the site whose fault its loss is."""
        set_generators(arguments[0].device, noise)
        with traces_of(self.elbo) as traces, torch.no_grad():
            self.elbo.loss(model, guide, *arguments)
        return blame(traces)

    def _record(self, key: _Key, model: Program, guide: Program, *arguments: Tensor) -> None:
        names: list[str] = []

        def step(*arguments: Tensor) -> tuple[Tensor, ...]:
            loss, terms, grads = differentiated(self.elbo, model, guide, arguments)
            names[:] = grads
            return loss, terms, *grads.values()

        with self._undone(arguments[0].device):
            try:
                with recordable():
                    recording = Recording(step, arguments)
            except Exception as error:
                self._give_up(f"the step cannot be recorded ({_first_line(error)})")
                return
        if arguments[0].device.type == "cuda" and self.compile == "graph":
            self._capture(recording, *arguments)
        self._graphs[key] = recording, names
        self._unchecked.add(key)

    def _compile(self, key: _Key, *arguments: Tensor) -> None:
        """Have Inductor compile a recording, if what it computes stays the same to rounding."""
        recording, _ = self._graphs[key]
        on_gpu = arguments[0].device.type == "cuda"
        try:
            with self._undone(arguments[0].device):
                recording.compile(*arguments)
            if self._results(recording, *arguments).are(self._results(recording, *arguments, compiled=True), _ROUNDING):
                if on_gpu:
                    self._capture(recording, *arguments)
                return
            reason = "Inductor's step does not repeat the recorded one from the same noise"
        except Exception as error:
            reason = f"Inductor cannot compile the step ({_first_line(error)})"
        recording.forget()
        self.compile = "graph"
        warnings.warn(f"{reason}; training goes on with the recorded graph", stacklevel=2)
        if on_gpu:
            self._capture(recording, *arguments)

    def _results(self, recording: Recording, *arguments: Tensor, compiled: bool = False) -> Results:
        with self._undone(arguments[0].device):
            loss, terms, *grads = recording(*arguments, compiled=compiled)
            return Results(loss.item(), terms.clone(), [grad.clone() for grad in grads], self._copies())

    def _copies(self) -> list[Tensor]:
        return [buffer.clone() for buffer in self._buffers()]

    @contextmanager
    def _undone(self, device: torch.device) -> Iterator[None]:
        """Put generators and buffers back."""
        before = [(buffer, buffer.clone()) for buffer in self._buffers()]
        try:
            with forked_rng(device):
                yield
        finally:
            for buffer, value in before:
                buffer.copy_(value)

    def _capture(self, recording: Recording, *arguments: Tensor) -> None:
        try:
            with self._undone(arguments[0].device):
                recording.capture(*arguments)
        except Exception as error:
            reason = f"the step cannot be captured as a CUDA graph ({_first_line(error)})"
            warnings.warn(f"{reason}; its kernels are launched one by one", stacklevel=2)

    def _compare(self, key: _Key, model: Program, guide: Program, *arguments: Tensor) -> None:
        self._unchecked.discard(key)
        totals, losses = self.totals, self.losses
        self.losses = Losses(every=1)
        store = pyro.get_param_store()
        params = [store[name].unconstrained() for name in sorted(store.keys())]
        held = [param.grad for param in params]
        rounding = _ROUNDING if self._graphs[key][0].is_compiled else 0.0
        results = []
        try:
            for run in (self._by_pyro, partial(self._by_graph, key)):
                self.totals = torch.zeros(2)
                for param in params:
                    param.grad = None
                with self._undone(arguments[0].device):
                    loss = run(model, guide, *arguments)
                    grads = [None if param.grad is None else param.grad.clone() for param in params]
                    results.append(Results(loss, self.totals.clone(), grads, self._copies()))
        finally:
            self.totals, self.losses = totals, losses
            for param, grad in zip(params, held, strict=True):
                param.grad = grad
        if not results[0].are(results[1], rounding):
            self._give_up("the recorded step does not repeat what Pyro computes from the same noise")

    def _give_up(self, reason: str) -> None:
        self.compile = "off"
        self._graphs.clear()
        warnings.warn(f"{reason}; training goes on through Pyro, without recording", stacklevel=2)


def _first_line(error: Exception) -> str:
    return str(error).splitlines()[0] if str(error) else type(error).__name__
