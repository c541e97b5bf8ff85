"""Bernoulli likelihood of binary pixels."""

from __future__ import annotations

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.infer.util import is_validation_enabled
from torch import Tensor
from torch.distributions import constraints

from pyrovae.distributions import LinearBernoulli, UnitBernoulli
from pyrovae.likelihoods.base import Likelihood
from pyrovae.matmul import is_fast_matmul
from pyrovae.networks import MLP, NetworkFactory, init_output_bias, make_network, split_last_linear

__all__ = ["Bernoulli"]


class Bernoulli(Likelihood):
    r"""Independent Bernoulli pixels: :math:`\log p(x|z) = \sum_i x_i \log p_i(z) + (1 - x_i) \log(1 - p_i(z))`.

    On binary data this is a probability. On grey values in [0, 1] it is the negative cross-entropy, with which
    many tutorials train; it is not normalised, so binarise the data before publishing a likelihood.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to the logits of ``data_shape``.

    Example:
        >>> Bernoulli((1, 28, 28), 20)(torch.zeros(3, 20)).log_prob(torch.ones(3, 1, 28, 28)).shape
        torch.Size([3])
    """

    support = constraints.unit_interval
    discrete = True

    def __init__(self, data_shape: tuple[int, ...], latent_dim: int, network: NetworkFactory = MLP) -> None:
        super().__init__(data_shape, latent_dim)
        self.network = make_network(network, self.latent_dim, self.data_shape)

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        # Not with validation: LinearBernoulli does not validate values.
        end = split_last_linear(self.network, z) if is_fast_matmul(z) and not is_validation_enabled() else None
        if end is not None:
            h, last = end
            return LinearBernoulli(h, last.weight, last.bias, self.data_shape)
        return UnitBernoulli(logits=self.network(z)).to_event(len(self.data_shape))

    def initialize(self, x: Tensor) -> None:
        """Set the output's bias to the logits of the data's mean (Burda et al., 2015, arXiv:1509.00519)."""
        # With one more datum whose values are all 1/2, so that pixels that are always off get a finite logit.
        init_output_bias(self.network, torch.logit((x.sum(0) + 0.5) / (len(x) + 1)))

    def caveat(self, kind: str) -> str | None:
        """Return a warning that grey values have a cross-entropy and no likelihood."""
        if kind == "binary":
            return None
        return "The data are grey, so that this is a cross-entropy and no log-likelihood: binarise them to publish it."
