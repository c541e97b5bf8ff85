"""Reconstruction and KL of validation batches, recorded once and replayed."""

from __future__ import annotations

import warnings
from collections import Counter
from contextlib import suppress
from typing import Any

import pyro
import torch
from pyro import poutine
from torch import Tensor

from pyrovae.compilation.functional import without_python_values
from pyrovae.compilation.graph_capture import Recording, Signature, signature_of
from pyrovae.compilation.program_state import python_state
from pyrovae.compilation.training_step import TrainingStep
from pyrovae.objectives.terms import estimate_elbo_terms, sample_elbo_terms
from pyrovae.programs import Arguments, PyroFunction
from pyrovae.rng import forked_rng, generators, set_generators

__all__ = ["ValidationTerms"]

_OFTEN = 64  # batches of a shape that run through Pyro first: recording takes as long as it saves in some 100


class ValidationTerms:
    """Reconstruction and KL of batches: :func:`estimate_elbo_terms`, recorded where the training step is recorded.

    The 65th batch of a shape is recorded, if running it changes nothing in the programs. The recording must repeat
    exactly what Pyro computes from the same noise, for this batch, the others of the epoch, and the first of the next.
    From then on it is used, except in epochs 1, 2, 4, 8 and so on, in which every batch runs through Pyro too and is
    compared. Once the programs use another value in Python than when they were recorded, or a recording fails, all
    batches run through Pyro.

    Args:
        model: program of p(x, z).
        guide: program of q(z|x).
        step: their training step.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> terms = ValidationTerms(vae.model, vae.guide, TrainingStep(Trace_ELBO(), modules=[vae]))
        >>> terms(torch.ones(3, 4)).shape
        torch.Size([2])
    """

    def __init__(self, model: PyroFunction, guide: PyroFunction, step: TrainingStep) -> None:
        self._programs = model, guide
        self._step = step
        self._seen: Counter[Signature] = Counter()
        self._recorded: dict[Signature, _RecordedTerms] = {}
        self._recorded_in: dict[Signature, int] = {}  # epochs
        self._confirmed: set[Signature] = set()  # in a later epoch, whose weights are others
        self._state: list[Any] | None = None  # of the programs when they were recorded
        self._epochs = 0
        self._is_new_epoch = self._is_off = False

    def begin_epoch(self) -> None:
        """Begin the validation of an epoch; the programs' values in Python are checked at its first batch."""
        self._epochs += 1
        self._is_new_epoch = True

    def __call__(self, *arguments: Tensor) -> Tensor:
        """Return reconstruction and KL of a batch, in nats, shape ``(2,)``.

        Args:
            arguments: arguments of the programs, x of shape ``(B, *data_shape)`` first.

        Raises:
            FloatingPointError: if they are not finite, naming the site.
        """
        key = signature_of(arguments)
        self._seen[key] += 1
        if self._is_new_epoch:
            self._is_new_epoch = False
            self._stop_if_outdated()
        if self._is_off or self._step.compile == "off" or self._seen[key] <= _OFTEN:
            return estimate_elbo_terms(*self._programs, *arguments)
        if key in self._confirmed and self._epochs.bit_count() != 1:
            return self._replay(key, *arguments)
        return self._compare(key, *arguments) if key in self._recorded else self._record(key, *arguments)

    def _stop_if_outdated(self) -> None:
        """Stop if the programs use another value in Python, or another parameter, than when they were recorded."""
        if self._recorded and not self._is_off:
            unchanged = self._state == python_state(*self._programs, *self._step.modules)
            self._is_off = not unchanged or not all(made.is_current for made in self._recorded.values())

    def _record(self, key: Signature, *arguments: Tensor) -> Tensor:
        """Run a batch through Pyro, and record it if this changes nothing in the programs."""
        noise, before = generators(arguments[0].device), self._values()
        terms = estimate_elbo_terms(*self._programs, *arguments)
        state, _ = before
        self._is_off = state is None or before != self._values() or (bool(self._recorded) and state != self._state)
        if not self._is_off:
            try:
                with forked_rng(arguments[0].device):
                    made = _RecordedTerms(*self._programs, arguments)
            except Exception:  # Pyro computes the same, only not as fast
                self._is_off = True
            else:
                self._recorded[key], self._recorded_in[key], self._state = made, self._epochs, state
                self._is_off = not self._agrees(key, terms, noise, *arguments)
        return terms

    def _compare(self, key: Signature, *arguments: Tensor) -> Tensor:
        """Run a batch through Pyro and through its recording."""
        noise = generators(arguments[0].device)
        terms = estimate_elbo_terms(*self._programs, *arguments)
        if not self._agrees(key, terms, noise, *arguments):
            self._stop(key)
        elif self._epochs > self._recorded_in[key]:
            self._confirmed.add(key)
        return terms

    def _replay(self, key: Signature, *arguments: Tensor) -> Tensor:
        """Run the recording of a batch; run Pyro instead if it fails."""
        noise = generators(arguments[0].device)
        with suppress(RuntimeError):  # shapes may depend on values and differ for this batch
            terms = self._recorded[key](*arguments)
            if bool(terms.isfinite().all()):
                return terms
        set_generators(arguments[0].device, noise)
        terms = estimate_elbo_terms(*self._programs, *arguments)  # if they are not finite, it names the site
        self._stop(key)
        return terms

    def _agrees(self, key: Signature, terms: Tensor, noise: list[Tensor], *arguments: Tensor) -> bool:
        """Tell whether a recording computes the same terms from the same noise; the generators stay as they are."""
        with forked_rng(arguments[0].device), suppress(RuntimeError):
            set_generators(arguments[0].device, noise)
            return torch.equal(self._recorded[key](*arguments), terms)
        return False

    def _stop(self, key: Signature) -> None:
        self._is_off = True
        if key in self._confirmed:
            warnings.warn(
                "the recorded validation does not repeat what Pyro computes; it runs through Pyro from now on, but "
                "validation bounds of earlier epochs may be wrong: compile=off computes all by Pyro",
                stacklevel=2,
            )

    def _values(self) -> tuple[list[Any] | None, list[int]]:
        """Return the programs' values in Python, and versions of their tensors, which validation must not change."""
        tensors = [part for module in self._step.modules for part in (*module.parameters(), *module.buffers())]
        return python_state(*self._programs, *self._step.modules), [tensor._version for tensor in tensors]


class _RecordedTerms:
    """Recorded terms of batches of one shape."""

    def __init__(self, model: PyroFunction, guide: PyroFunction, arguments: Arguments) -> None:
        self._programs = model, guide
        self._params: dict[str, Tensor] = {}
        self._recording = Recording(self._terms, arguments)

    def __call__(self, *arguments: Tensor) -> Tensor:
        return self._recording(*arguments)[0]

    @property
    def is_current(self) -> bool:
        """True if the recorded parameters are still in use."""
        store = pyro.get_param_store()
        return all(name in store and store[name].unconstrained() is param for name, param in self._params.items())

    def _terms(self, *arguments: Tensor) -> tuple[Tensor, ...]:
        with poutine.trace(param_only=True) as capture, without_python_values(), torch.no_grad():
            _, terms = sample_elbo_terms(*self._programs, arguments)
        self._params = {name: site["value"].unconstrained() for name, site in capture.trace.nodes.items()}
        return (terms,)
