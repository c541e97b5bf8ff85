"""The posterior of data in coordinates that fit the distribution which annealing starts from."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from contextlib import contextmanager
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
from pyrovae.evaluation.likelihood.site_transforms import SiteTransform, site_transform
from pyrovae.execution import evaluating, frozen_parameters, observed_of
from pyrovae.execution.batched import BatchedPrograms
from pyrovae.programs import PyroFunction

__all__ = ["AnnealingTarget", "Point"]


class Point(NamedTuple):
    """Hold what is known at coordinates ``(k, B, n)``; log-densities have shape ``(k, B)``, in nats.

    Attributes:
        log_weight: log w = log p(x, z) - log q(z|x); of the prior's samples, log p(x|z).
        log_start: log r(u), of the start in its coordinates.
        log_likelihood: log p(x|z).
        latents: by site name, ``(k, B, *event_shape)``.
    """

    log_weight: Tensor
    log_start: Tensor
    log_likelihood: Tensor
    latents: dict[str, Tensor]


class AnnealingTarget:
    r"""Describe p(x, z) of a batch in coordinates u, where the start of an annealing has the density r(u).

    With w = p(x, z) / q(z|x) at z = g(u),

    .. math:: \int r(u)\, w(g(u))\, du = p(x), \qquad r(u)\, w(g(u))^\beta

    being the path from the start to the posterior. Of a site whose distribution makes its samples of Gaussian noise
    (normals of any covariance, and what transforms make of them), u is the noise: r is standard normal, and no
    transform is inverted. Of another site u is its value, mapped to all reals by Pyro's transform of its support and
    whitened by its samples' spread; of a direction, a vector that points there.

    An affine change per datum, :math:`u' = a + e^b u` with u from the start, has the log weight
    :math:`\log w(u') + \log r(u') - \log r(u) + \sum b`.

    Args:
        programs: model and guide on B data.
        start: ``guide`` for q(z|x), or ``prior`` for p(z).

    Attributes:
        programs: these.
        num_coordinates: the number n of coordinates of a datum.

    Raises:
        ValueError: if a latent site is discrete, or of a support that has no transform to all reals.
    """

    def __init__(self, programs: BatchedPrograms, start: Literal["guide", "prior"] = "guide") -> None:
        checks.choice("start", start, ("guide", "prior"))
        self.start = start
        self.programs = programs
        with programs.evaluating():
            samples = programs.run(self._program, min(64, max(16, 4000 // programs.count)))
            self.transforms: dict[str, SiteTransform] = {}
            for name in [name for name in samples.nodes if name in programs.sites]:
                site = samples.nodes[name]
                self.transforms[name] = site_transform(name, site["fn"], site["value"], programs.unflatten_samples)
        self.num_coordinates = sum(transform.size for transform in self.transforms.values())
        # A guide of one site encodes the data once for all evaluations.
        self._encoded = start == "guide" and len(self.transforms) == 1 and self.programs.broadcasts

    @property
    def _program(self) -> PyroFunction:
        return self.programs.guide if self.start == "guide" else self.programs.model

    @property
    def is_noise(self) -> bool:
        """Whether all coordinates are standard normal noise at the start."""
        return all(transform.is_noise for transform in self.transforms.values())

    @contextmanager
    def running(self) -> Iterator[None]:
        """Put the programs in the state in which :meth:`at`, :meth:`draw` and :meth:`of` may be called."""
        with (
            evaluating(self.programs.model, self.programs.guide),
            frozen_parameters(self.programs.model, self.programs.guide),
        ):
            yield

    def draw(self, k: int) -> Tensor:
        """Draw coordinates from the start, ``(k, B, n)``."""
        if self._encoded:
            ((name, transform),) = self.transforms.items()
            return transform.draw(self.programs.encoded.nodes[name]["fn"], (k, self.programs.count))[1]
        lead = self._lead(k)
        found: list[Tensor] = []

        def draw(name: str, fn: Any, value: Tensor) -> Tensor:
            value, u = self.transforms[name].draw(fn, lead)
            found.append(u)
            return value

        with _At(self.transforms, draw):
            self.programs.run(self._program, k)
        return self.programs.unflatten_samples(torch.cat(found, -1))

    def of(self, latents: dict[str, Tensor]) -> Tensor:
        """Return coordinates of latents, ``(k, B, *event_shape)`` each: ``(k, B, n)``.

        Raises:
            ValueError: if a transform of the start has no inverse.
        """
        k = len(next(iter(latents.values())))
        seen = {name: self.programs.flatten_samples(latents[name]) for name in self.transforms}
        found: list[Tensor] = []

        def place(name: str, fn: Any, value: Tensor) -> Tensor:
            found.append(self.transforms[name].inverse(fn, seen[name]))
            return seen[name]

        with _At(self.transforms, place):
            self.programs.run(self._program, k)
        return self.programs.unflatten_samples(torch.cat(found, -1))

    def at(self, u: Tensor) -> Point:
        """Run the programs at coordinates, ``(k, B, n)``; differentiable in them."""
        latents, log_prob, log_start, trace = self.placed(u)
        if self.start == "guide":
            chunk = self.programs.weigh(latents, log_prob)
            return Point(chunk.log_weight, log_start, chunk.log_likelihood, latents)
        log_likelihood = self.programs.log_prob(trace, observed_of(trace, self.programs.sites), len(u))
        return Point(log_likelihood, log_start, log_likelihood, latents)

    def log_start(self, u: Tensor) -> Tensor:
        """Return the log-density of the start at coordinates, ``(k, B)``, in nats."""
        if self.is_noise:
            return -0.5 * (u.square().sum(-1) + self.num_coordinates * math.log(2 * math.pi))
        return self.placed(u)[2]

    def placed(self, u: Tensor) -> tuple[dict[str, Tensor], Tensor, Tensor, Trace]:
        """Return latents at coordinates, their log-density under the start, that of the coordinates, and the run."""
        k = len(u)
        sizes = [transform.size for transform in self.transforms.values()]
        parts = dict(zip(self.transforms, self.programs.flatten_samples(u).split(sizes, -1), strict=True))
        if self._encoded:
            ((name, transform),) = self.transforms.items()
            site = self.programs.encoded.nodes[name]
            z = transform.forward(site["fn"], parts[name])
            log_prob = log_density(site["fn"], z)
            masked = scale_and_mask(log_prob, mask=site["mask"])
            return {name: z}, masked, transform.log_density(site["fn"], parts[name], log_prob), self.programs.encoded
        with _At(self.transforms, lambda name, fn, value: self.transforms[name].forward(fn, parts[name])):
            trace = self.programs.run(self._program, k)
        latents = {name: self.programs.unflatten_samples(trace.nodes[name]["value"]) for name in self.transforms}
        densities = [
            self.programs.unflatten_samples(
                transform.log_density(trace.nodes[name]["fn"], parts[name], trace.nodes[name]["unscaled_log_prob"])
            )
            for name, transform in self.transforms.items()
        ]
        return latents, self.programs.log_prob(trace, list(self.transforms), k), sum(densities, torch.zeros(())), trace

    def gradients(self, u: Tensor) -> tuple[Point, Tensor, Tensor]:
        """Run the programs at coordinates, and return the gradients of ``log_weight`` and of ``log_start`` too."""
        with torch.enable_grad():
            u = u.detach().requires_grad_()
            point = self.at(u)
            of_weight = _gradient(point.log_weight, u, keep=not self.is_noise)
            of_start = -u.detach() if self.is_noise else _gradient(point.log_start, u)
        detached = Point(
            point.log_weight.detach(),
            point.log_start.detach(),
            point.log_likelihood.detach(),
            {name: z.detach() for name, z in point.latents.items()},
        )
        return detached, of_weight, of_start

    def _lead(self, k: int) -> tuple[int, ...]:
        return (k, self.programs.count) if self.programs.broadcasts else (k * self.programs.count,)


def _gradient(log_density: Tensor, u: Tensor, *, keep: bool = False) -> Tensor:
    if not log_density.requires_grad:  # it does not depend on the latents
        return torch.zeros_like(u)
    gradient = torch.autograd.grad(log_density.sum(), u, retain_graph=keep, allow_unused=True)[0]
    return torch.zeros_like(u) if gradient is None else gradient


class _At(Messenger):
    """Put at each latent site what ``place`` returns for its name, distribution and value.

    It is entered outside the plate of samples, so that the distributions are expanded to it already.
    """

    def __init__(self, transforms: dict[str, SiteTransform], place: Callable[[str, Any, Any], Tensor]) -> None:
        super().__init__()
        self.transforms = transforms
        self.place = place

    def _pyro_sample(self, msg: Message) -> None:
        if msg["name"] in self.transforms and not site_is_subsample(msg):
            msg["value"] = self.place(msg["name"], msg["fn"], msg["value"])
            msg["done"] = True
