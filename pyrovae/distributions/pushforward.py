"""Distributions of what transforms make of draws from another."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import checks

__all__ = ["Pushforward"]


class Pushforward(dist.TransformedDistribution):
    r"""Score what transforms :math:`T` make of a base's draws: :math:`\log p(z) = \log p(u) - \log |\det \nabla T(u)|`.

    As Pyro's distribution does, but the transforms may be a batch that the values are yet to be paired with, and
    the ones without an inverse are named. Their own draws, the latest ones, all transforms can score.

    Args:
        base_distribution: of u, event shape ``(D,)``.
        transforms: one after the other, each of vectors of D components.

    Example:
        >>> p = Pushforward(StandardNormal(2)(), [Planar(2)()])
        >>> p.log_prob(p.sample((5,))).shape
        torch.Size([5])
        >>> p.log_prob(torch.zeros(2))
        Traceback (most recent call last):
        ...
        pyrovae.checks.InputError: flow must have an inverse, such as ...
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value``, ``(*, D)``, in nats.

        Raises:
            ValueError: if a transform has no inverse, and these are not its own latest draws.
        """
        batch_shape = torch.broadcast_shapes(self.batch_shape, value.shape[:-1])
        if value.shape[:-1] != batch_shape:  # else transforms must see the very tensor they remember
            value = value.expand(*batch_shape, -1)
        try:
            return super().log_prob(value)
        except KeyError as error:
            names = list(dict.fromkeys(type(transform).__name__ for transform in self.transforms))
            blamed = [name for name in names if name in str(error)] or names
            raise checks.InputError(
                "flow must have an inverse, such as SplineAutoregressive has, to score what it has not just drawn, "
                f"but {', '.join(blamed).replace('Conditioned', '')} was given"
            ) from error
