"""Counts given their total, the library size."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions.constraints import Counts

__all__ = ["GivenTotal"]


class GivenTotal(TorchDistribution):
    r"""Counts given their total: the rate of each is its share of the total, :math:`\lambda_i = \ell\,\rho_i`.

    :math:`\ell = \sum_i x_i` is computed from the value whose log-probability is requested, as if it were known
    beforehand: this is :math:`\log p(x \mid \ell)`, whose probabilities do not sum to 1 over x of different totals
    (Lopez et al., 2018, doi:10.1038/s41592-018-0229-2). Samples and the mean use a typical total.

    Args:
        log_share: :math:`\log \rho`, of shape ``(*, *event_shape)``.
        total: the typical total, a scalar.
        counts: makes the distribution of the counts from their log rates.
        event_dim: number of dimensions of one datum.

    Example:
        >>> from pyro.distributions import Poisson
        >>> fn = GivenTotal(torch.tensor([0.2, 0.8]).log(), torch.tensor(100.0), lambda r: Poisson(r.exp()), 1)
        >>> fn.mean, fn.log_prob(torch.tensor([1.0, 4.0]))
        (tensor([20., 80.]), tensor(-2.6329))
    """

    arg_constraints: dict[str, constraints.Constraint] = {}  # noqa: RUF012 - as torch's are

    def __init__(
        self,
        log_share: Tensor,
        total: Tensor,
        counts: Callable[[Tensor], TorchDistribution],
        event_dim: int,
        validate_args: bool | None = None,
    ) -> None:
        self.log_share = log_share
        self.total = total
        self.counts = counts
        batch_dim = log_share.dim() - event_dim
        super().__init__(log_share.shape[:batch_dim], log_share.shape[batch_dim:], validate_args)

    @constraints.dependent_property(is_discrete=True)
    def support(self) -> constraints.Constraint:
        """The integers from 0 on, at each component of x."""
        return constraints.independent(Counts(), self.event_dim)

    def expand(self, batch_shape: tuple[int, ...], _instance: Any = None) -> GivenTotal:
        """Return the distribution with its shares expanded to ``batch_shape``."""
        log_share = self.log_share.expand(*batch_shape, *self.event_shape)
        return GivenTotal(log_share, self.total, self.counts, self.event_dim, self._validate_args)

    def log_prob(self, value: Tensor) -> Tensor:
        """Return the log-probability given the value's own total, in nats."""
        if self._validate_args:
            self._validate_sample(value)
        # In double precision, which represents sums of large counts exactly.
        total = value.sum(list(range(-self.event_dim, 0)), keepdim=True, dtype=torch.float64)
        return self._at(total).log_prob(value).to(torch.result_type(value, self.log_share))

    @property
    def mean(self) -> Tensor:
        """The mean at the typical total."""
        return self._at(self.total).mean

    def sample(self, sample_shape: tuple[int, ...] = ()) -> Tensor:
        """Draw at the typical total."""
        return self._at(self.total).sample(sample_shape)

    def _at(self, total: Tensor) -> TorchDistribution:
        return self.counts(total.log() + self.log_share).to_event(self.event_dim)
