"""Reconstruction and KL of validation batches, recorded once and replayed."""

from __future__ import annotations

from collections import Counter
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

_OFTEN = 64  # batches of a shape from which on it is recorded: recording takes as long as it saves in some 100


class ValidationTerms:
    """Reconstruction and KL of a batch: :func:`estimate_elbo_terms`, recorded where training is recorded.

    The 65th batch of a shape is recorded. The recording is used only if it gives exactly Pyro's terms from the same
    noise, on that batch and on the next, and does so again whenever the training step compares its own. A shape that
    cannot be recorded runs through Pyro. The numbers are the same in all cases.

    Args:
        step: the training step of the same programs.

    Example:
        >>> vae = VAE(StandardNormal(2), Bernoulli((4,), 2), DiagonalNormal((4,), 2))
        >>> terms = ValidationTerms(TrainingStep(Trace_ELBO()))
        >>> terms(vae.model, vae.guide, torch.ones(3, 4)).shape
        torch.Size([2])
    """

    def __init__(self, step: TrainingStep) -> None:
        self._step = step
        self._seen: Counter[Signature] = Counter()
        self._recorded: dict[Signature, _RecordedTerms] = {}
        self._unchecked: set[Signature] = set()
        self._refused: set[Signature] = set()

    def begin_epoch(self) -> None:
        """Begin the validation of an epoch: discard outdated recordings; compare the others if training did."""
        self._recorded = {key: recorded for key, recorded in self._recorded.items() if recorded.is_current}
        if self._step.compares:
            self._unchecked = set(self._recorded)

    def __call__(self, model: PyroFunction, guide: PyroFunction, *arguments: Tensor) -> Tensor:
        """Return reconstruction and KL of a batch, in nats, shape ``(2,)``.

        Args:
            model: program of p(x, z).
            guide: program of q(z|x).
            arguments: their arguments, x of shape ``(B, *data_shape)`` first.

        Raises:
            FloatingPointError: if they are not finite, naming the site.
        """
        key = signature_of(arguments)
        self._seen[key] += 1
        if self._step.compile == "off" or key in self._refused or self._seen[key] <= _OFTEN:
            return estimate_elbo_terms(model, guide, *arguments)
        noise = generators(arguments[0].device)
        if key in self._recorded and key not in self._unchecked:
            terms = self._recorded[key](*arguments)
            if bool(terms.isfinite().all()):
                return terms
            set_generators(arguments[0].device, noise)
            return estimate_elbo_terms(model, guide, *arguments)  # names the site
        before = self._state(model, guide)
        terms = estimate_elbo_terms(model, guide, *arguments)
        if (
            before is None
            or before != self._state(model, guide)
            or not self._repeats(key, terms, noise, model, guide, *arguments)
        ):
            self._recorded.pop(key, None)
            self._refused.add(key)
        return terms

    def _state(self, model: PyroFunction, guide: PyroFunction) -> list[Any] | None:
        """Return what a run of the programs must not change, if a recording is to replace it."""
        values = python_state(model, guide, *self._step.modules)
        buffers = [buffer._version for module in self._step.modules for buffer in module.buffers()]
        return None if values is None else [*values, *buffers]

    def _repeats(
        self,
        key: Signature,
        terms: Tensor,
        noise: list[Tensor],
        model: PyroFunction,
        guide: PyroFunction,
        *arguments: Tensor,
    ) -> bool:
        """Tell whether a recording, made if there is none, gives the terms that Pyro computed from the same noise."""
        device = arguments[0].device
        try:
            with forked_rng(device):
                if key in self._recorded:
                    self._unchecked.discard(key)
                else:
                    # Compared on the next batch too, in case the recording contains values of this one.
                    self._unchecked.add(key)
                    self._recorded[key] = _RecordedTerms(model, guide, arguments)
                set_generators(device, noise)
                return torch.equal(self._recorded[key](*arguments), terms)
        except Exception:  # it cannot be recorded, or not be repeated
            return False


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
