"""Likelihood of ordered categories."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.distributions import Levels, QuantizedCategorical
from pyrovae.likelihoods.base import Likelihood
from pyrovae.networks import MLP, NetworkFactory, Positive, init_output_bias, make_network

__all__ = ["Ordinal"]


class Ordinal(Likelihood):
    r"""Ordered categories by cumulative logits: :math:`P(x_i \le v_k|z) = \mathrm{sigm}(c_{ik} - \mu_i(z))`.

    The thresholds :math:`c_{i0} < c_{i1} < \dots` are learned for each component of x, so that categories need not be
    evenly spaced (the proportional-odds model, McCullagh, 1980, doi:10.1111/j.2517-6161.1980.tb01109.x).

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape``.
        levels: number L of levels; x is one of 0, 1 / (L - 1), ..., 1. By default, ``train`` takes the number of the
            data; elsewhere the default is 256.

    Example:
        >>> Ordinal((4,), 2, levels=5)(torch.zeros(3, 2)).log_prob(torch.ones(3, 4)).shape
        torch.Size([3])
    """

    discrete = True
    levels: int

    def __init__(
        self, data_shape: tuple[int, ...], latent_dim: int, network: NetworkFactory = MLP, levels: int | None = None
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.levels = 256 if levels is None else checks.integer("levels", levels, minimum=2)
        self.support = Levels(self.levels)
        self.network = make_network(network, self.latent_dim, self.data_shape)
        self.positive = Positive("softplus", 1e-4)
        even = (torch.arange(1, self.levels) / self.levels).logit()
        self.first = nn.Parameter(even[0].expand(self.data_shape).clone())
        steps = even.diff().expand(*self.data_shape, -1)  # (*data_shape, L - 2)
        self.raw_steps = nn.Parameter(self.positive.inverse(steps.clone()))

    @property
    def thresholds(self) -> Tensor:
        """Thresholds in ascending order, ``(*data_shape, L - 1)``."""
        return torch.cat((self.first[..., None], self.positive(self.raw_steps)), -1).cumsum(-1)

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        border = self.thresholds - self.network(z)[..., None]  # (*, *data_shape, L - 1)
        # sigm(a) - sigm(b) = sigm(a) sigm(-b) (1 - e^(b - a)), in which nothing cancels in the tails.
        below = F.pad(F.logsigmoid(border), (0, 1))
        above = F.pad(F.logsigmoid(-border), (1, 0))
        width = F.pad((-torch.expm1(-self.positive(self.raw_steps))).log(), (1, 1))
        if self.levels == 2:
            width = width.new_zeros(2)
        return QuantizedCategorical(below + above + width).to_event(len(self.data_shape))

    def initialize(self, x: Tensor) -> None:
        """Set the output's bias to 0, and thresholds to the logits of the cumulative frequencies of the levels."""
        init_output_bias(self.network, x.new_zeros(self.data_shape))
        # With one more datum that has all levels equally, so that levels that never occur get a finite threshold.
        count = x.new_full((self.levels, *self.data_shape), 1 / self.levels)
        index = (x * (self.levels - 1)).round().long()
        count.scatter_add_(0, index, torch.ones_like(x, dtype=count.dtype))
        share = (count.cumsum(0)[:-1] / (len(x) + 1)).movedim(0, -1)  # (*data_shape, L - 1)
        logits = share.logit()
        with torch.no_grad():
            self.first.copy_(logits[..., 0])
            self.raw_steps.copy_(self.positive.inverse(logits.diff(dim=-1).clamp(min=2e-4)))

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, levels={self.levels}"
