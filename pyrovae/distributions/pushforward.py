"""Pushforward of a distribution through transforms."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

from pyrovae import checks

__all__ = ["Pushforward"]


class Pushforward(dist.TransformedDistribution):
    r"""The pushforward of a base through transforms :math:`T`: :math:`\log p(z) = \log p(u) - \log |\det \nabla T(u)|`.

    Unlike Pyro's distribution, values broadcast with a batch of transforms, and an error names transforms without an
    inverse. All transforms can score their own latest samples.

    Args:
        base_distribution: distribution of u, with event shape ``(D,)``.
        transforms: transforms of vectors of D components, in the order of application.

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
            ValueError: if a transform has no inverse, and the values are not its own latest samples.
        """
        batch_shape = torch.broadcast_shapes(self.batch_shape, value.shape[:-1])
        if value.shape[:-1] != batch_shape:  # else keep the tensor, which the transforms have in their cache
            value = value.expand(*batch_shape, -1)
        try:
            return super().log_prob(value)
        except KeyError as error:
            names = list(dict.fromkeys(type(transform).__name__ for transform in self.transforms))
            without_inverse = [name for name in names if name in str(error)] or names
            raise checks.InputError(
                "flow must have an inverse, such as SplineAutoregressive has, to score values other than its latest "
                f"samples, but {', '.join(without_inverse).replace('Conditioned', '')} was given"
            ) from error
