"""Normal distribution of full covariance, in double precision."""

from __future__ import annotations

import pyro.distributions as dist
import torch
from torch import Tensor

__all__ = ["MultivariateNormal"]


class MultivariateNormal(dist.MultivariateNormal):
    r"""A normal :math:`p(z) = \mathcal{N}(z; \mu, L L^\top)` whose density is computed in double precision.

    If components are nearly dependent, solving :math:`L u = z - \mu` subtracts terms that are larger than the result
    by the condition number of L.

    Args:
        loc: mean, ``(*, D)``.
        scale_tril: Cholesky factor L, with positive diagonal, ``(*, D, D)``.

    Example:
        >>> L = torch.tensor([[1.0, 0.0], [1.0, 1e-4]])
        >>> MultivariateNormal(torch.zeros(2), scale_tril=L).log_prob(torch.tensor([0.3, 0.3]))
        tensor(7.3275)
    """

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-density of ``value``, ``(*, D)``, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        root = self._unbroadcasted_scale_tril.double()
        fn = dist.MultivariateNormal(self.loc.double(), scale_tril=root, validate_args=False)
        return fn.log_prob(value.double()).to(torch.result_type(value, self.loc))
