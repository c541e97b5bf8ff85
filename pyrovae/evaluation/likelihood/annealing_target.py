"""The posterior in coordinates that suit the initial distribution of an annealing path."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from copy import copy
from typing import Any, Literal, NamedTuple

import torch
from pyro.distributions.util import scale_and_mask
from pyro.poutine import Trace
from pyro.poutine.messenger import Messenger
from pyro.poutine.runtime import Message
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyrovae import checks
from pyrovae.distributions.exact_density import log_density
from pyrovae.distributions.log_coordinates import map_with_logs
from pyrovae.evaluation.likelihood.site_transforms import SiteTransform, site_transform
from pyrovae.execution import evaluating, frozen_parameters, observed_of
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.execution.enumerated import EnumeratedPrograms, sum_values
from pyrovae.programs import PyroFunction
from pyrovae.rng import forked_rng

__all__ = ["AffineMap", "AnnealingTarget", "TargetValue"]


class TargetValue(NamedTuple):
    """Log-densities and latents at coordinates ``(k, B, n)``; log-densities have shape ``(k, B)``, in nats.

    Attributes:
        log_weight: log w = log p(x, z) - log q(z|x); if the start is the prior, log p(x|z).
        log_start: log r(u), the density of the start in coordinates.
        log_likelihood: log p(x|z).
        latents: by site name, ``(k, B, *event_shape)``.
    """

    log_weight: Tensor
    log_start: Tensor
    log_likelihood: Tensor
    latents: dict[str, Tensor]


class AffineMap(NamedTuple):
    """An affine map a + L v of the coordinates of each datum.

    Attributes:
        shift: a, ``(B, n)``.
        factor: L, ``(B, n, n)``.
        log_volume: log |det L|, ``(B,)``.
    """

    shift: Tensor
    factor: Tensor
    log_volume: Tensor

    def __call__(self, v: Tensor) -> Tensor:
        """Map coordinates, ``(k, B, n)``."""
        return self.shift + torch.einsum("bij,kbj->kbi", self.factor, v)

    def inverse(self, u: Tensor) -> Tensor:
        """Invert the map."""
        return torch.linalg.solve(self.factor, (u - self.shift).movedim(0, -1)).movedim(-1, 0)


class AnnealingTarget:
    r"""The joint density p(x, z) of a batch in coordinates u, in which the start of the path has the density r(u).

    With w = p(x, z) / q(z|x) at z = g(u),

    .. math:: \int r(u)\, w(g(u))\, du = p(x), \qquad r(u)\, w(g(u))^\beta

    is the path from the start to the posterior. For a site whose samples are made from Gaussian noise (normal
    distributions of any covariance and transforms of them), u is that noise: r is standard normal, and no transform is
    inverted. For other sites, u is the value, mapped to all reals by Pyro's transform of the support and whitened by
    the spread of its samples; for a direction, u is a vector in that direction.

    If discrete latents are summed over, r is the density of the continuous ones alone, a mixture. The noise of a site
    whose distribution depends on a discrete latent does not determine its value, so that its coordinates are the value
    itself.

    An affine map of the coordinates of each datum, :math:`u' = a + L u` with u from the start, has the log weight
    :math:`\log w(u') + \log r(u') - \log r(u) + \log |\det L|`. With :meth:`mapped`, u is in the place of u', and the
    start is the guide of which each datum's samples are so moved, or the mixture of both, whose log-density then takes
    the place of :math:`\log r(u)`.

    Args:
        programs: model and guide on B data.
        start: ``guide`` for q(z|x), or ``prior`` for p(z).

    Attributes:
        programs: model and guide on B data.
        num_coordinates: number n of coordinates of a datum.
        is_noise: True if all coordinates of the guide, or the prior, are standard normal noise.
        is_mixture: True if the start is the mixture of the guide and of a map of it, from :meth:`mapped`.

    Raises:
        ValueError: if a latent site is discrete, its support has no transform to all reals, or depends on a discrete
            latent that is summed over.
    """

    def __init__(self, programs: BatchedPrograms, start: Literal["guide", "prior"] = "guide") -> None:
        checks.choice("start", start, ("guide", "prior"))
        self.start = start
        self.programs = programs
        self._affine: AffineMap | None = None
        self.is_mixture = False
        with programs.evaluating():
            samples = programs.run(self._program, min(64, max(16, 4000 // programs.count)))
            mixed = self._mixed_sites(samples)
            self.transforms: dict[str, SiteTransform] = {}
            for name in [name for name in samples.nodes if name in programs.sites]:
                site, unflatten = samples.nodes[name], programs.unflatten_samples
                self.transforms[name] = site_transform(
                    name, site["fn"], site["value"], unflatten, by_value=name in mixed
                )
            self.num_coordinates = sum(transform.size for transform in self.transforms.values())
            self.is_noise = not mixed and all(transform.is_noise for transform in self.transforms.values())
            # A guide of one site encodes the data once for all evaluations.
            self._encoded = start == "guide" and len(self.transforms) == 1 and self.programs.encodes_once
            self._draws_from_encoded = self._encoded and not mixed
            if mixed:
                self._check_supports()

    @property
    def _program(self) -> PyroFunction:
        return self.programs.guide if self.start == "guide" else self.programs.model

    @property
    def is_mapped(self) -> bool:
        """True if the start is not that of the programs, but a map of it."""
        return self._affine is not None

    def mapped(self, affine: AffineMap, *, keep_guide: bool = False) -> AnnealingTarget:
        """Return the same posterior in coordinates v, of which ``affine`` makes those of this target.

        Args:
            affine: map of the coordinates of each datum.
            keep_guide: True to start at the mixture, in equal parts, of the moved samples and of the guide's own, for
                coordinates that are noise.
        """
        target = copy(self)
        target._affine, target.is_mixture = affine, keep_guide
        return target

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put the programs in evaluation mode, for :meth:`evaluate`, :meth:`draw` and :meth:`coordinates_of`."""
        with (
            evaluating(self.programs.model, self.programs.guide),
            frozen_parameters(self.programs.model, self.programs.guide),
        ):
            yield

    def draw(self, k: int) -> Tensor:
        """Draw coordinates from the start, ``(k, B, n)``: of a mixture, first the half from the mapped guide."""
        if not self.is_mixture:
            return self._draw(k)
        assert self._affine is not None
        assert k % 2 == 0
        moved, own = self._draw(k).chunk(2)
        return torch.cat((moved, self._affine.inverse(own)))

    def _draw(self, k: int) -> Tensor:
        if self._draws_from_encoded:
            ((name, transform),) = self.transforms.items()
            return transform.draw(self.programs.encoded.nodes[name]["fn"], (k, self.programs.count))[1]
        lead = self._sample_shape(k)
        found: list[Tensor] = []

        def draw(name: str, fn: Any, value: Tensor) -> Tensor:
            value, u = self.transforms[name].draw(fn, lead)
            found.append(u)
            return value

        with _SetLatents(self.transforms, draw):
            self.programs.run(self._program, k)
        return self.programs.unflatten_samples(torch.cat(found, -1))

    def coordinates_of(self, latents: dict[str, Tensor]) -> Tensor:
        """Return the coordinates, ``(k, B, n)``, of latents, ``(k, B, *event_shape)`` for each site.

        Raises:
            ValueError: if a transform of the start has no inverse.
        """
        k = len(next(iter(latents.values())))
        seen = {name: self.programs.flatten_samples(latents[name]) for name in self.transforms}
        found: list[Tensor] = []

        def place(name: str, fn: Any, value: Tensor) -> Tensor:
            found.append(self.transforms[name].inverse(fn, seen[name]))
            return seen[name]

        with _SetLatents(self.transforms, place):
            self.programs.run(self._program, k)
        u = self.programs.unflatten_samples(torch.cat(found, -1))
        return u if self._affine is None else self._affine.inverse(u)

    def evaluate(self, u: Tensor) -> TargetValue:
        """Run the programs at coordinates, ``(k, B, n)``; differentiable with respect to them."""
        if self._affine is None:
            return self._evaluate(u)
        point, log_start = self._evaluate(self._affine(u)), self.log_start(u)
        log_weight = point.log_weight + point.log_start - log_start + self._affine.log_volume
        return point._replace(log_weight=log_weight, log_start=log_start)

    def _evaluate(self, u: Tensor) -> TargetValue:
        latents, log_prob, log_start, trace = self.run_at(u)
        if self.start == "guide":
            chunk = self.programs.weigh(latents, log_prob)
            return TargetValue(chunk.log_weight, log_start, chunk.log_likelihood, latents)
        if isinstance(self.programs, EnumeratedPrograms):
            log_likelihood, _ = sum_values(*self.programs.log_probs(trace))
        else:
            log_likelihood = self.programs.log_prob(trace, observed_of(trace, self.programs.sites), len(u))
        return TargetValue(log_likelihood, log_start, log_likelihood, latents)

    def log_start(self, u: Tensor) -> Tensor:
        """Return the log-density of the start at coordinates, ``(k, B)``, in nats."""
        if self.is_mixture:
            assert self._affine is not None
            own = _log_normal(self._affine(u)) + self._affine.log_volume
            return torch.logaddexp(_log_normal(u), own) - math.log(2)
        return _log_normal(u) if self.is_noise else self.run_at(u)[2]

    def run_at(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Trace]:
        """Return latents at coordinates, log-densities of latents and of coordinates under the start, and the trace."""
        k = len(u)
        sizes = [transform.size for transform in self.transforms.values()]
        parts = dict(zip(self.transforms, self.programs.flatten_samples(u).split(sizes, -1), strict=True))
        if self._encoded:
            ((name, transform),) = self.transforms.items()
            site = self.programs.encoded.nodes[name]
            z = transform.forward(site["fn"], parts[name])
            if isinstance(self.programs, EnumeratedPrograms):
                log_q = self.programs.log_q({name: z})
                return {name: z}, log_q, transform.log_density(site["fn"], parts[name], log_q), self.programs.encoded
            log_prob = log_density(site["fn"], z)
            masked = scale_and_mask(log_prob, mask=site["mask"])
            return {name: z}, masked, transform.log_density(site["fn"], parts[name], log_prob), self.programs.encoded
        if isinstance(self.programs, EnumeratedPrograms):
            return self._run_on_values_at(self.programs, u)
        with _SetLatents(self.transforms, lambda name, fn, value: self.transforms[name].forward(fn, parts[name])):
            trace = self.programs.run(self._program, k)
        latents = {name: self.programs.unflatten_samples(trace.nodes[name]["value"]) for name in self.transforms}
        densities = [
            self.programs.unflatten_samples(
                transform.log_density(trace.nodes[name]["fn"], parts[name], trace.nodes[name]["unscaled_log_prob"])
            )
            for name, transform in self.transforms.items()
        ]
        return latents, self.programs.log_prob(trace, list(self.transforms), k), sum(densities, torch.zeros(())), trace

    def _run_on_values_at(
        self, programs: EnumeratedPrograms, u: Tensor
    ) -> tuple[dict[str, Tensor], Tensor, Tensor, Trace]:
        """Return what :meth:`run_at` returns, with the discrete latents summed over."""
        sizes = [transform.size for transform in self.transforms.values()]
        repeated = programs.flatten_samples(programs.repeat_for_values(u))
        parts = dict(zip(self.transforms, repeated.split(sizes, -1), strict=True))
        with _SetLatents(self.transforms, lambda name, fn, value: self.transforms[name].forward(fn, parts[name])):
            trace = programs.run_on_values(self._program, len(u))
        latents = {name: _first(programs.by_value(trace.nodes[name]["value"])) for name in self.transforms}
        log_prob = programs.log_probs(trace)[0].logsumexp(0)  # (k, B)
        if self.is_noise:
            return latents, log_prob, _log_normal(u), trace
        log_start = log_prob
        for name, transform in self.transforms.items():  # the same for all values
            each = trace.nodes[name]["unscaled_log_prob"]
            each = each if transform.is_noise else torch.zeros_like(each)
            volume = transform.log_density(trace.nodes[name]["fn"], parts[name], each) - each
            log_start = log_start + programs.by_value(volume)[0]
        return latents, log_prob, log_start, trace

    def _mixed_sites(self, samples: Trace) -> set[str]:
        """Name the sites whose distribution may depend on a discrete latent that is summed over."""
        if not isinstance(self.programs, EnumeratedPrograms):
            return set()
        order = [name for name in samples.nodes if name in self.programs.whole.sites]
        return self.programs.may_depend_on_discrete(self._program, order)

    def _check_supports(self) -> None:
        """Refuse a site whose values at given coordinates depend on a discrete latent that is summed over."""
        assert isinstance(self.programs, EnumeratedPrograms)
        with forked_rng(self.programs.arguments[0].device):
            trace = self._run_on_values_at(self.programs, self.draw(2))[3]
        for name in self.transforms:
            values = self.programs.by_value(trace.nodes[name]["value"])
            if not torch.allclose(values, values[:1].expand_as(values), rtol=1e-4, atol=1e-5, equal_nan=True):
                raise checks.InputError(
                    "latents must have a support that no discrete latent changes, for these to be summed over, but "
                    f"that of {name!r} differs"
                )

    def gradients(self, u: Tensor) -> tuple[TargetValue, Tensor, Tensor]:
        """Run the programs at coordinates; also return the gradients of ``log_weight`` and ``log_start``."""
        is_normal = self.is_noise and not self.is_mixture
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            point = self.evaluate(u)
            grad_weight = _gradient(point.log_weight, u, keep=not is_normal)
            grad_start = -u.detach() if is_normal else _gradient(point.log_start, u)
        detached = TargetValue(
            point.log_weight.detach(),
            point.log_start.detach(),
            point.log_likelihood.detach(),
            {name: z.detach() for name, z in point.latents.items()},
        )
        return detached, grad_weight, grad_start

    def _sample_shape(self, k: int) -> tuple[int, ...]:
        return (k, self.programs.count) if self.programs.broadcasts else (k * self.programs.count,)


def _log_normal(u: Tensor) -> Tensor:
    """Return the standard normal log-density of coordinates, ``(k, B)``, in nats."""
    return -0.5 * (u.square().sum(-1) + u.shape[-1] * math.log(2 * math.pi))


def _gradient(log_density: Tensor, u: Tensor, *, keep: bool = False) -> Tensor:
    if not log_density.requires_grad:  # it does not depend on the latents
        return torch.zeros_like(u)
    gradient = torch.autograd.grad(log_density.sum(), u, retain_graph=keep, allow_unused=True)[0]
    return torch.zeros_like(u) if gradient is None else gradient


def _first(values: Tensor) -> Tensor:
    """Return the first of ``(J, k, B, ...)``."""
    return map_with_logs(lambda part: part[0], values)


class _SetLatents(Messenger):
    """A handler that sets each latent site to the result of ``place`` for its name, distribution and value.

    It is entered outside the plate of samples, so that the distributions are already expanded.
    """

    def __init__(self, transforms: dict[str, SiteTransform], place: Callable[[str, Any, Any], Tensor]) -> None:
        super().__init__()
        self.transforms = transforms
        self.place = place

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.transforms and not site_is_subsample(msg):
            msg["value"] = self.place(msg["name"], msg["fn"], msg["value"])
            msg["done"] = True
