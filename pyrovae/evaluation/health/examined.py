"""A trained program and some data, with what the checks of its health look at, each computed once."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from pyro import poutine
from pyro.poutine import Trace
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.evaluation.elbo.rate_distortion import RateDistortion, rate_distortion
from pyrovae.execution import allow_missing, evaluating, latents_of, trace, values_of
from pyrovae.execution.chunking import Chunks
from pyrovae.missing import has_missing
from pyrovae.networks import Positive
from pyrovae.programs import Arguments, PyroFunction, modules_of
from pyrovae.rng import forked_rng

__all__ = ["AtBound", "Examined"]

_SAMPLES = 32
_MEASURED = 200  # largest number of data whose rate is measured
_CHUNKS = 16  # chunks that the model is run on at once
_NEAR = 0.1  # distance to a bound, as a share of it, below which a number counts as at the bound


@dataclass(frozen=True)
class AtBound:
    """The share of a component's output that is at its lower bound.

    Attributes:
        component: the prior, likelihood or posterior.
        minimum: the bound.
        share: share of the values that are at most a tenth above it.
    """

    component: nn.Module
    minimum: float
    share: float


@dataclass(frozen=True)
class Examined:
    """A trained program and some data.

    Attributes:
        model: program of p(x, z).
        guide: program of q(z|x).
        arguments: ``(x,)`` or ``(x, y)``, N data.
        chunk_size: number of latents to run the model on at a time; None to choose it by the program's size.
        known: rate and distortion of these data, if they are known already.
    """

    model: PyroFunction
    guide: PyroFunction
    arguments: Arguments
    chunk_size: int | None = None
    known: RateDistortion | None = None

    @cached_property
    def rate_distortion(self) -> RateDistortion | None:
        """Rate, distortion and active units; None if the guide has no density, such as a deterministic encoder."""
        if self.known is not None:
            return self.known
        with _fixed_noise(self.arguments):
            try:
                some = self._first(_MEASURED)
                return rate_distortion(
                    self.model, self.guide, some, _SAMPLES, num_codes=2, chunk_size=self.chunk_size, progress=False
                )
            except checks.InputError:
                return None

    @cached_property
    def traces(self) -> tuple[Trace, Trace]:
        """Traces of the guide, and of the model at its latents, on as many data as fit in memory, with fixed noise."""
        return self._run[0]

    @cached_property
    def latents(self) -> list[dict[str, Any]]:
        """The model's latent sites, whose values are the guide's."""
        guided, traced = self.traces
        return [traced.nodes[name] for name in latents_of(guided) if name in traced.nodes]

    @cached_property
    def at_bound(self) -> list[AtBound]:
        """The components some of whose scales are at their lower bound, with the share of these."""
        return self._run[1]

    @cached_property
    def _run(self) -> tuple[tuple[Trace, Trace], list[AtBound]]:
        chunks = Chunks(self.chunk_size)
        chunks.choose(self.model, self.arguments)
        some = self._first(max(20, _CHUNKS * chunks.size))
        model, guide = self.model, self.guide
        if has_missing(some[0]):
            model, guide = allow_missing(model, guide)
        with evaluating(self.model, self.guide), _fixed_noise(self.arguments), self._watch_bounds() as found:
            guided = trace(guide, some)
            traced = trace(poutine.condition(model, values_of(guided)), some)
        return (guided, traced), [
            AtBound(part, minimum, sum(near) / sum(of))
            for (part, minimum), (near, of) in ((key, zip(*counts, strict=True)) for key, counts in found.items())
            if sum(near) > 0
        ]

    def _first(self, count: int) -> Arguments:
        return tuple(part[:count] for part in self.arguments)

    @contextmanager
    def _watch_bounds(self) -> Iterator[dict[tuple[nn.Module, float], list[tuple[int, int]]]]:
        """Count the outputs of each map to positive numbers, and those at its bound, by component and bound."""
        found: dict[tuple[nn.Module, float], list[tuple[int, int]]] = {}

        def count(part: nn.Module, minimum: float) -> Callable[[nn.Module, Any, Any], None]:
            def hook(_: nn.Module, given: Any, output: Tensor) -> None:
                near = int((output < (1 + _NEAR) * minimum).sum())
                found.setdefault((part, minimum), []).append((near, output.numel()))

            return hook

        with ExitStack() as stack:
            for part, positive in _bounded_parts(modules_of(self.model, self.guide)):
                stack.callback(positive.register_forward_hook(count(part, positive.minimum)).remove)
            yield found


def _bounded_parts(owners: list[nn.Module]) -> Iterator[tuple[nn.Module, Positive]]:
    """Yield each map to positive numbers, with the innermost component around it that says what its bound means."""
    for owner in owners:
        named = dict(owner.named_modules())
        for path, positive in named.items():
            if not isinstance(positive, Positive):
                continue
            names = path.split(".")
            around = (named[".".join(names[:count])] for count in range(len(names) - 1, -1, -1))
            part = next((part for part in around if getattr(part, "at_lower_bound", None)), None)
            if part is not None:
                yield part, positive


@contextmanager
def _fixed_noise(arguments: Arguments) -> Iterator[None]:
    with forked_rng(arguments[0].device):
        torch.manual_seed(0)
        yield
