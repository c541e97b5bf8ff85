"""Training step: a Pyro ELBO and its gradients, recorded once and replayed."""

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
from pyro import poutine
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
from pyrovae.compilation.agreement import StepResults
from pyrovae.compilation.finite_check import LossMonitor
from pyrovae.compilation.graph_capture import Signature, signature_of
from pyrovae.compilation.program_state import python_state, weight_decays
from pyrovae.compilation.recorded_step import ROUNDING, RecordedStep, first_line, restoring
from pyrovae.objectives.terms import NonFiniteLoss, collect_traces, nonfinite_site, sum_terms
from pyrovae.optimizers import JointOptimizer
from pyrovae.programs import Arguments, PyroFunction
from pyrovae.rng import generators, set_generators

__all__ = ["Compile", "ObjectiveFactory", "TrainingStep"]

Compile: TypeAlias = Literal["off", "graph", "inductor"]
ObjectiveFactory: TypeAlias = Callable[[], ELBO]

_OFTEN = 16  # batches of a shape, one an epoch, from which on it is recorded: recording takes as long as some 100 steps


class TrainingStep:
    """Loss and gradients for SVI, with running sums of reconstruction and KL.

    The first batch of each shape runs through Pyro with validation. The second is recorded below autograd as a graph of
    torch operations, noise included; later steps replay the graph without Pyro's overhead. A recording is used only if,
    on the third batch, it gives exactly Pyro's gradients from the same noise, and changes buffers in the same way. It
    is compared with Pyro again in later epochs, see :meth:`begin_epoch`. A program that cannot be recorded runs through
    Pyro, with one warning. On a GPU a recording becomes one CUDA graph.

    A resumed training repeats the bits of an undisturbed one. Therefore which steps of an epoch are compiled depends on
    that epoch alone: all of the shape that comes first, if the optimizer has made steps before; otherwise all but the
    first of their shape. Such a recording is compiled and compared with Pyro on the batch that it was made of, and
    compared once more on the next.

    Args:
        elbo: any ELBO of Pyro.
        compile: ``graph`` to record; ``inductor`` to compile the recording too, with gradients that are the same up to
            rounding; ``off`` to run Pyro at every step.
        modules: the programs' modules, whose buffers a step may change, as batch normalisation does. A network's
            attribute ``weight_decay`` is an L2 penalty, weight_decay / 2 times the squared norm of its weights for each
            datum, in nats; it is added to the gradients, not to the loss.
        optimizer: optimizer that updates the parameters after each step, if nothing else changes the gradients before.
            A compiled step then makes the update of Adam or AdamW itself, and the optimizer counts it.

    Attributes:
        totals: reconstruction and KL, summed over all data since it was last set, in nats.
        losses: the check that losses are finite.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> step = TrainingStep(Trace_ELBO(), "off")
        >>> loss = step.loss_and_grads(vae.model, vae.guide, torch.ones(3, 4))
        >>> bool(abs(step.totals[0] - step.totals[1] + loss) < 1e-4)
        True
    """

    def __init__(
        self,
        elbo: ELBO,
        compile: Compile = "graph",
        modules: Sequence[nn.Module] = (),
        optimizer: JointOptimizer | None = None,
    ) -> None:
        if isinstance(elbo, JitTrace_ELBO | JitTraceEnum_ELBO | JitTraceGraph_ELBO | JitTraceMeanField_ELBO):
            raise checks.InputError(
                "objective must not fix the size of a batch, as Pyro's Jit ELBOs do, "
                f"but {type(elbo).__name__} was given; compile=graph records the step of the others"
            )
        self.elbo = elbo
        self.modules = modules
        self.optimizer = optimizer
        self.compile = checks.choice("compile", compile, get_args(Compile))
        checks.integer("num_particles of the objective", elbo.num_particles)
        nesting = elbo.max_plate_nesting
        if not isinstance(nesting, int | float) or not nesting >= 1:
            raise checks.InputError(
                f"max_plate_nesting of the objective must be at least 1, the data's plate, but {nesting!r} was given"
            )
        if isinstance(elbo, TraceEnum_ELBO) and nesting == math.inf:  # the plates of data and particles
            nesting = 1 + (elbo.vectorize_particles and elbo.num_particles > 1)
        elbo.max_plate_nesting = nesting if nesting == math.inf else int(nesting)  # the command line passes floats
        self.totals = torch.zeros(2)
        self.losses = LossMonitor()
        self._seen: Counter[Signature] = Counter()
        self._graphs: dict[Signature, RecordedStep] = {}
        self._steps: Counter[Signature] = Counter()
        self._unchecked: set[Signature] = set()
        self._decays = weight_decays(modules)
        self._programs: tuple[PyroFunction, ...] = ()
        self._state: list[Any] | None = None
        self._epochs = 0

    def begin_epoch(self) -> None:
        """Begin an epoch: discard outdated recordings, and compare the others with Pyro at their next step.

        They are compared in epochs 1, 2, 4, 8 and so on, and whenever a value that the programs use in Python has
        changed since the last epoch.
        """
        self._epochs += 1
        self._steps.clear()
        self._graphs = {key: recorded for key, recorded in self._graphs.items() if recorded.is_current}
        if not self._graphs:
            return
        before, self._state = self._state, python_state(*self._programs, *self.modules)
        if self._epochs.bit_count() == 1 or before is None or before != self._state:
            self._unchecked = set(self._graphs)

    def loss(self, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> float:
        """Return the loss on a batch in nats; ``arguments`` are x, ``(B, *data_shape)``, and labels if used."""
        return float(self.elbo.loss(model, guide, *arguments))

    def loss_and_grads(self, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> float:
        """Return the loss on a batch in nats, and add its gradients, with weight decay, to the parameters.

        Raises:
            FloatingPointError: if the loss is not finite, before anything is updated.
        """
        loss = self._loss_and_grads(model, guide, *arguments)
        for weight, decay in self._decays:
            if weight.grad is not None:  # the penalty is per datum, the loss of the batch
                weight.grad.add_(weight.detach(), alpha=decay * len(arguments[0]))
        return loss

    def _loss_and_grads(self, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> float:
        if self.optimizer is not None:
            self.optimizer.is_updated = False  # in case a step was interrupted
        self._programs = model, guide
        key = signature_of(arguments)
        again = self._steps[key] > 0
        is_first = not self._steps.total() and (self.optimizer is None or self.optimizer.has_state)
        self._steps[key] += 1
        self._seen[key] += 1
        if self._seen[key] == 1:
            if not (is_first and self.compile == "inductor"):
                return self._run_validated(model, guide, *arguments)
            with poutine.trace(param_only=True) as capture, self._undoing(arguments[0].device):
                self._run_validated(model, guide, *arguments)
            if self.optimizer is not None:
                self.optimizer.add({site["value"].unconstrained() for site in capture.trace.nodes.values()})
        compiled = (is_first or again) and self.compile == "inductor"
        if self.compile != "off" and key not in self._graphs and (compiled or again or self._seen[key] > _OFTEN):
            # Checked on the next batch too, to detect recordings that contain this batch's values as constants.
            self._record(key, model, guide, *arguments)
            if not compiled:
                return self._run_pyro(model, guide, *arguments)
            if key in self._graphs:
                self._compare(key, model, guide, *arguments)
                self._unchecked.add(key)
        elif key in self._unchecked:
            self._compare(key, model, guide, *arguments)
            self._unchecked.discard(key)
        if key not in self._graphs:
            return self._run_pyro(model, guide, *arguments)
        if compiled and not self._graphs[key].is_compiled:
            self._compile(key, *arguments)
        return self._replay(key, model, guide, *arguments, compiled=compiled)

    def _run_validated(self, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> float:
        """Run the first batch through Pyro with validation of all values."""
        before, state = self._buffers(), python_state(model, guide, *self.modules)
        noise = torch.get_rng_state()
        try:
            with pyro.validation_enabled(True):
                loss = self._run_pyro(model, guide, *arguments)
        except ValueError:
            torch.set_rng_state(noise)
            self._run_pyro(model, guide, *arguments)  # if parameters are not finite, this raises with the site
            raise
        if self.compile != "off" and [id(buffer) for buffer in before] != [id(buffer) for buffer in self._buffers()]:
            self._stop_recording("the step replaces buffers of the program by others, instead of changing them")
        elif self.compile != "off" and (state is None or state != python_state(model, guide, *self.modules)):
            self._stop_recording(
                "the step changes values of the program that are no tensors of its modules, such as a counter"
            )
        return loss

    def _buffers(self) -> list[Tensor]:
        return [buffer for module in self.modules for buffer in module.buffers()]

    def _run_pyro(self, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> float:
        self.losses.flush(since=1)
        with collect_traces(self.elbo) as traces:
            loss = float(self.elbo.loss_and_grads(model, guide, *arguments))
        if not math.isfinite(loss):
            raise NonFiniteLoss(f"{loss} at {nonfinite_site(traces)}")
        self.totals = self.totals.to(arguments[0].device) + sum_terms(traces, self.elbo.num_particles)
        return loss

    def _replay(
        self, key: Signature, model: PyroFunction, guide: PyroFunction, *arguments: Tensor, compiled: bool
    ) -> float:
        recorded = self._graphs[key]
        noise = generators(arguments[0].device)
        try:
            loss, terms, *grads = recorded(*arguments, compiled=compiled)
        except RuntimeError as error:  # shapes may depend on values and differ for this batch
            if compiled and recorded.updates:
                raise  # an update may have been made in part
            set_generators(arguments[0].device, noise)
            self._stop_recording(f"the recorded step cannot be repeated ({first_line(error)})")
            return self._run_pyro(model, guide, *arguments)
        size = sum(part.nbytes for part in arguments)
        value = self.losses.add(loss, partial(self._nonfinite_site, model, guide, arguments, noise), size)
        self.totals = self.totals.to(arguments[0].device) + terms
        if compiled and recorded.updates:
            recorded.count_update()
            return value
        for name, grad in zip(recorded.names, grads, strict=True):
            param = pyro.param(name).unconstrained()  # SVI learns from pyro.param what to update
            param.grad = grad if param.grad is None else param.grad + grad
        return value

    def _nonfinite_site(
        self, model: PyroFunction, guide: PyroFunction, arguments: Arguments, noise: list[Tensor]
    ) -> str:
        """Run a batch again with the same noise, and return the site that makes its loss not finite."""
        set_generators(arguments[0].device, noise)
        with collect_traces(self.elbo) as traces, torch.no_grad():
            self.elbo.loss(model, guide, *arguments)
        return nonfinite_site(traces)

    def _record(self, key: Signature, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> None:
        try:
            recorded = RecordedStep(self.elbo, model, guide, arguments, self.modules, self.optimizer)
        except Exception as error:
            self._stop_recording(f"the step cannot be recorded ({first_line(error)})")
            return
        if arguments[0].device.type == "cuda" and self.compile == "graph":
            _capture(recorded, *arguments)
        self._graphs[key] = recorded
        self._unchecked.add(key)

    def _compile(self, key: Signature, *arguments: Tensor) -> None:
        """Compile a recording by Inductor, if its results stay the same up to rounding."""
        reason = self._graphs[key].compile(*arguments)
        if reason is not None:
            self.compile = "graph"
            warnings.warn(f"{reason}; training goes on with the recorded graph", stacklevel=2)
        if arguments[0].device.type == "cuda":
            _capture(self._graphs[key], *arguments)

    def _compare(self, key: Signature, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> None:
        """Compare a recording with Pyro on a batch; stop recording if they differ."""
        recorded, store = self._graphs[key], pyro.get_param_store()
        try:
            with self._undoing(arguments[0].device):
                loss = self._run_pyro(model, guide, *arguments)
                # The step may have made new parameters.
                params = [store[name].unconstrained() for name in store.keys()]  # noqa: SIM118
                learned = {param: param.grad.clone() for param in params if param.grad is not None}
                buffers = [buffer.clone() for buffer in self._buffers()]
                terms = self.totals
            expected = StepResults(loss, terms, [learned.pop(param, None) for param in recorded.params], buffers)
            found = recorded.results(*arguments, compiled=recorded.is_compiled)
        except RuntimeError as error:
            self._stop_recording(f"the recorded step cannot be repeated ({first_line(error)})")
            return
        if learned or not expected.agree_with(found, ROUNDING if recorded.is_compiled else 0.0):
            self._stop_recording("the recorded step does not repeat what Pyro computes from the same noise")

    @contextmanager
    def _undoing(self, device: torch.device) -> Iterator[None]:
        """Begin with no gradients and totals of 0; restore them, the generators and the buffers at the end."""
        totals, store = self.totals, pyro.get_param_store()
        held = {name: store[name].unconstrained().grad for name in store.keys()}  # noqa: SIM118
        self.totals = torch.zeros(2)
        for name in held:
            store[name].unconstrained().grad = None
        try:
            with restoring(device, self._buffers()):
                yield
        finally:
            self.totals = totals
            for name in store.keys():  # noqa: SIM118
                store[name].unconstrained().grad = held.get(name)

    def _stop_recording(self, reason: str) -> None:
        self.compile = "off"
        self._graphs.clear()
        warnings.warn(f"{reason}; training goes on through Pyro, without recording", stacklevel=2)


def _capture(recorded: RecordedStep, *arguments: Tensor) -> None:
    try:
        recorded.capture(*arguments)
    except Exception as error:
        reason = f"the step cannot be captured as a CUDA graph ({first_line(error)})"
        warnings.warn(f"{reason}; its kernels are launched one by one", stacklevel=2)
