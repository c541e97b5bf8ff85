"""Likelihoods of counts, such as of genes in a cell or of words in a text."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial
from typing import Literal

import torch
from pyro.distributions.torch_distribution import TorchDistributionMixin
from torch import Tensor, nn

from pyrovae import checks
from pyrovae.distributions import Counts, GivenTotal, InflatedCounts, NegativeBinomialCounts, PoissonCounts
from pyrovae.likelihoods.base import Likelihood
from pyrovae.networks import MLP, NetworkFactory, Positive, init_output_bias, make_network

__all__ = ["CountLikelihood", "NegativeBinomial", "Poisson"]

LARGEST_LOG_RATE = 50.0  # clamped, because float32 overflows at larger rates


class CountLikelihood(Likelihood):
    r"""Base class of likelihoods of counts; a subclass defines ``counts(log_rate)``.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to ``data_shape`` (twice as many rows of the first dimension if
            zero-inflated).
        zero_inflated: True if each count is 0 with an extra probability from the network.
        library: ``free``: the network gives the logarithm of each rate; ``observed``: it gives the shares of
            the datum's total count :math:`\ell`, :math:`\lambda = \ell\,\mathrm{softmax}(\cdot)`, and :math:`\ell`
            is taken as known (Lopez et al., 2018, doi:10.1038/s41592-018-0229-2).
    """

    support = Counts()
    discrete = True
    total: Tensor

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        zero_inflated: bool = False,
        library: Literal["free", "observed"] = "free",
    ) -> None:
        super().__init__(data_shape, latent_dim)
        self.zero_inflated = zero_inflated
        self.library = checks.choice("library", library, ("free", "observed"))
        outputs = (2 if zero_inflated else 1) * self.data_shape[0], *self.data_shape[1:]
        self.network = make_network(network, self.latent_dim, outputs)
        if library == "observed":
            # Total of samples and of the mean; one count per component until it is initialized from data.
            self.register_buffer("total", torch.ones(self.data_shape).sum())

    @abstractmethod
    def counts(self, log_rate: Tensor) -> TorchDistributionMixin:
        """Return the distribution of each count, of the batch shape of ``log_rate``, ``(*, *data_shape)``."""

    def forward(self, z: Tensor) -> TorchDistributionMixin:
        """Return p(x|z) for ``z`` of shape ``(*, D)``."""
        dims = len(self.data_shape)
        raw, gate_logits = self.network(z), None
        if self.zero_inflated:
            raw, gate_logits = raw.chunk(2, -dims)  # (*, *data_shape) each
        counts = partial(self._inflated, gate_logits)
        if self.library == "free":
            return counts(raw).to_event(dims)
        log_share = raw.flatten(-dims).log_softmax(-1).unflatten(-1, self.data_shape)
        return GivenTotal(log_share, self.total, counts, dims)

    def initialize(self, x: Tensor) -> None:
        """Set the output's bias to the data's mean, with half of the zeros as inflated, and the total to the median."""
        # With one more datum of half a count each, so that counts that are always 0 get a finite logarithm.
        mean = (x.sum(0) + 0.5) / (len(x) + 1)
        if self.zero_inflated:
            gate = ((x == 0).sum(0) + 0.5) / (len(x) + 1) / 2
            init_output_bias(self.network, torch.cat(((mean / (1 - gate)).log(), torch.logit(gate))))
        else:
            init_output_bias(self.network, mean.log())
        if self.library == "observed":
            self.total.copy_(x.flatten(1).sum(1).median().clamp(min=1))

    def caveat(self, kind: str) -> str | None:
        """Return a warning that, with known totals, this is no likelihood of the data."""
        if self.library == "observed":
            return (
                "Each datum's total count is taken as known, so that this is log p(x | z, total) and no "
                "likelihood of x: compare it only with models that are given the total too."
            )
        return super().caveat(kind)

    def extra_repr(self) -> str:
        """Show the shapes and options."""
        return f"{super().extra_repr()}, zero_inflated={self.zero_inflated}, library={self.library!r}"

    def _inflated(self, gate_logits: Tensor | None, log_rate: Tensor) -> TorchDistributionMixin:
        fn = self.counts(log_rate.clamp(-LARGEST_LOG_RATE, LARGEST_LOG_RATE))
        return fn if gate_logits is None else InflatedCounts(fn, gate_logits)


class Poisson(CountLikelihood):
    r"""Poisson counts: :math:`\log p(x|z) = \sum_i x_i \log \lambda_i(z) - \lambda_i(z) - \log x_i!`.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to the logarithms of the rates (and, if zero-inflated, to as many logits
            after them, along the first dimension).
        zero_inflated: True if each count is 0 with an extra probability from the network.
        library: ``free``: the network gives the logarithm of each rate; ``observed``: it gives the shares of
            the datum's total count :math:`\ell`, :math:`\lambda = \ell\,\mathrm{softmax}(\cdot)`, and :math:`\ell`
            is taken as known (Lopez et al., 2018, doi:10.1038/s41592-018-0229-2). Samples and
            the mean then have the training data's median total.

    Example:
        >>> Poisson((2000,), 10)(torch.zeros(3, 10)).log_prob(torch.zeros(3, 2000)).shape
        torch.Size([3])
    """

    def counts(self, log_rate: Tensor) -> TorchDistributionMixin:
        """Return Poisson distributions."""
        return PoissonCounts(log_rate)


class NegativeBinomial(CountLikelihood):
    r"""Negative binomial counts: Poisson counts whose rate has a gamma distribution.

    With mean :math:`\lambda` and inverse dispersion :math:`\theta`, of variance
    :math:`\lambda + \lambda^2 / \theta`:
    :math:`p(x_i|z) = \frac{\Gamma(x_i + \theta_i)}{\Gamma(\theta_i)\,x_i!}
    \left(\frac{\theta_i}{\theta_i + \lambda_i}\right)^{\theta_i}
    \left(\frac{\lambda_i}{\theta_i + \lambda_i}\right)^{x_i}`,
    where :math:`\theta_i` is learned, one number for each component of x.

    Args:
        data_shape: shape of one datum.
        latent_dim: number D of latent dimensions.
        network: decoder, from D features to the logarithms of the means (and, if zero-inflated, to as many logits
            after them, along the first dimension).
        zero_inflated: True if each count is 0 with an extra probability from the network.
        library: ``free``: the network gives the logarithm of each mean; ``observed``: it gives the shares of
            the datum's total count :math:`\ell`, :math:`\lambda = \ell\,\mathrm{softmax}(\cdot)`, and :math:`\ell`
            is taken as known (Lopez et al., 2018, doi:10.1038/s41592-018-0229-2). Samples and
            the mean then have the training data's median total.

    Example:
        >>> fn = NegativeBinomial((2000,), 10, library="observed")(torch.zeros(3, 10))
        >>> fn.log_prob(torch.ones(3, 2000)).shape
        torch.Size([3])
    """

    def __init__(
        self,
        data_shape: tuple[int, ...],
        latent_dim: int,
        network: NetworkFactory = MLP,
        zero_inflated: bool = False,
        library: Literal["free", "observed"] = "free",
    ) -> None:
        super().__init__(data_shape, latent_dim, network, zero_inflated, library)
        self.positive = Positive("softplus", 1e-4)
        self.raw_dispersion = nn.Parameter(self.positive.inverse(torch.ones(self.data_shape)))

    def counts(self, log_rate: Tensor) -> TorchDistributionMixin:
        """Return negative binomial distributions."""
        return NegativeBinomialCounts(log_rate, self.positive(self.raw_dispersion))

    def initialize(self, x: Tensor) -> None:
        """Initialize the output's bias and the dispersion from the data's mean and variance."""
        super().initialize(x)
        excess = (x.var(0, correction=0) - x.mean(0)).clamp(min=1e-6)
        with torch.no_grad():
            self.raw_dispersion.copy_(self.positive.inverse((x.mean(0).square() / excess).clamp(0.1, 100)))
